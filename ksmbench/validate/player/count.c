/* What the kernel says after a batch: KSM's counters, and those of every living space. */
#define _GNU_SOURCE
#include "player.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define N_FILES (sizeof files / sizeof *files)
static const char *const files[] = {
    "full_scans", "pages_scanned", "pages_shared", "pages_sharing", "pages_unshared", "pages_volatile", "pages_skipped",
    "ksm_zero_pages", "stable_node_chains", "stable_node_dups", "general_profit"};
static int fds[N_FILES], vmstat_fd;
enum { COW_BREAKS = N_FILES, OF_FRAMES, N_COUNTERS = OF_FRAMES + N_FRAME_COUNTERS };

/* A file of /proc or /sys from its start, as text; the bytes read. */
int read_text(int fd, char *text, int room)
{
    int n = 0, got = 1;
    while (n < room - 1 && (got = pread(fd, text + n, room - 1 - n, n)) > 0)
        n += got;
    text[n] = 0;
    return n ? n : got;
}

/* The same for files that come whole in one piece. */
int read_once(int fd, char *text, int room)
{
    int n = pread(fd, text, room - 1, 0);
    text[n > 0 ? n : 0] = 0;
    return n;
}

/* The number after `name` in a text of many fields. */
int64_t field_of(const char *text, const char *name)
{
    const char *found = strstr(text, name);
    return found ? atoll(found + strlen(name)) : ABSENT;
}

/* Opens the counters, and says in the result how they are called. */
void name_counters(void)
{
    char names[1024] = "", path[128];
    for (size_t i = 0; i < N_FILES; i++) {
        snprintf(path, sizeof path, "/sys/kernel/mm/ksm/%s", files[i]);
        fds[i] = open(path, O_RDONLY);
        strcat(strcat(names, files[i]), "\n");
    }
    strcat(names, "cow_breaks\npages_anon\nframes\nframes_ksm");
    vmstat_fd = open("/proc/vmstat", O_RDONLY);
    put_record(COUNTER_NAMES, names, strlen(names), "", 0);
}

static int64_t single_number(int pid, const char *name)
{
    char path[64], text[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return ABSENT;
    int n = read_once(fd, text, sizeof text);
    close(fd);
    return n > 0 ? atoll(text) : ABSENT;
}

static void count_space(int pid, int64_t *row)
{
    char path[64], text[1024] = "\n";
    snprintf(path, sizeof path, "/proc/%d/ksm_stat", pid);
    int fd = open(path, O_RDONLY);
    if (fd >= 0) {
        read_once(fd, text + 1, sizeof text - 1);
        close(fd);
    }
    row[0] = field_of(text, "\nksm_rmap_items ");
    row[1] = field_of(text, "\nksm_merging_pages ");
    row[2] = field_of(text, "\nksm_zero_pages ");
    if (row[1] == ABSENT)
        row[1] = single_number(pid, "ksm_merging_pages"); /* before 6.6 */
}

/* A row of the result; `pids` has the process of every living space. */
void count(int64_t batch, int64_t cpu_ns, const int *pids)
{
    static int64_t *row;
    static char text[1 << 16];
    uint64_t n_spaces = script.header->n_spaces, n = 3 + N_COUNTERS;
    if (!row && !(row = calloc(n + 4 * n_spaces, sizeof *row)))
        fail(-1, "out of memory");
    int64_t *counters = row + 2, *n_alive = row + 2 + N_COUNTERS;
    row[0] = batch;
    row[1] = cpu_ns;
    for (size_t i = 0; i < N_FILES; i++)
        counters[i] = fds[i] >= 0 && read_once(fds[i], text, sizeof text) > 0 ? atoll(text) : ABSENT;
    read_text(vmstat_fd, text, sizeof text);
    counters[COW_BREAKS] = field_of(text, "\ncow_ksm ");
    for (int i = 0; i < N_FRAME_COUNTERS; i++)
        counters[OF_FRAMES + i] = ABSENT;
    if (script.header->with_frames)
        count_frames(batch, pids, counters + OF_FRAMES);
    *n_alive = 0;
    for (uint64_t space = 0; space < n_spaces; space++) {
        if (pids[space]) {
            row[n] = space;
            count_space(pids[space], row + n + 1);
            n += 4;
            ++*n_alive;
        }
    }
    put_record(ROW, row, n * sizeof *row, "", 0);
}
