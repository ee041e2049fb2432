/* What the kernel says after a batch: KSM's counters, those of every living space, and the frames in use. */
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
enum { COW_BREAKS = N_FILES, PAGES_ANON, FRAMES, FRAMES_KSM, N_COUNTERS };

#define PRESENT (1ULL << 63)
#define FRAME_BITS ((1ULL << 55) - 1)
#define FLAG_ANON (1ULL << 12)
#define FLAG_KSM (1ULL << 21)
#define FLAG_ZERO (1ULL << 24)
#define WORDS 8192

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
    put_record(COUNTER_NAMES, names, strlen(names));
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The frame of every present page of the trace's mappings in all processes; their number. */
static size_t frames_mapped(const int *pids, uint64_t **frames)
{
    static uint64_t words[WORDS];
    size_t n = 0, room = 0;
    char path[64];
    for (uint64_t space = 0; space < script.header->n_spaces; space++) {
        if (!pids[space])
            continue;
        snprintf(path, sizeof path, "/proc/%d/pagemap", pids[space]);
        int fd = open(path, O_RDONLY);
        for (uint64_t r = 0; r < script.header->n_ranges; r++) {
            for (uint64_t page = script.ranges[r].first; page < script.ranges[r].end; page += WORDS) {
                uint64_t wanted = script.ranges[r].end - page;
                wanted = wanted < WORDS ? wanted : WORDS;
                ssize_t got = pread(fd, words, wanted * 8, page * 8) / 8;
                if (n + WORDS > room && !(*frames = realloc(*frames, (room += room + WORDS) * 8)))
                    fail(-1, "out of memory");
                for (ssize_t i = 0; i < got; i++)
                    if (words[i] & PRESENT)
                        (*frames)[n++] = words[i] & FRAME_BITS;
            }
        }
        close(fd);
    }
    return n;
}

/* Some kernels (seen: 6.12.118 to 6.18.15; not 6.1, 6.18.44, 7.3) call every anonymous frame one of KSM. */
static int flags_tell_ksm(int flags_fd)
{
    static volatile char own[1 << 13]; /* never mergeable */
    uint64_t page = ((uintptr_t)own >> 12) + 1, frame = 0, flags = FLAG_KSM;
    own[sizeof own / 2] = 1;
    int fd = open("/proc/self/pagemap", O_RDONLY);
    if (pread(fd, &frame, 8, page * 8) != 8 || pread(flags_fd, &flags, 8, (frame & FRAME_BITS) * 8) != 8)
        fail(-1, "/proc/self/pagemap or /proc/kpageflags cannot be read");
    close(fd);
    return !(flags & FLAG_KSM);
}

static void count_frames(const int *pids, int64_t *counters)
{
    static uint64_t *frames, flags[WORDS];
    static int flags_fd = -1, tell_ksm;
    size_t n = frames_mapped(pids, &frames);
    if (flags_fd < 0) {
        flags_fd = open("/proc/kpageflags", O_RDONLY);
        tell_ksm = flags_tell_ksm(flags_fd);
    }
    counters[PAGES_ANON] = counters[FRAMES] = counters[FRAMES_KSM] = 0;
    qsort(frames, n, sizeof *frames, by_number);
    uint64_t first = 0, end = 0; /* the frames that `flags` holds */
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i + 1; next < n && frames[next] == frames[i];)
            next++;
        if (frames[i] >= end) {
            /* As many as follow closely: the kernel takes its time for each. */
            first = frames[i];
            end = first + 1;
            for (size_t k = next; k < n && frames[k] < end + 4 && frames[k] < first + WORDS; k++)
                end = frames[k] + 1;
            if (pread(flags_fd, flags, (end - first) * 8, first * 8) != (ssize_t)(end - first) * 8)
                fail(-1, "/proc/kpageflags cannot be read");
        }
        uint64_t f = flags[frames[i] - first];
        if ((f & FLAG_ZERO) || !(f & FLAG_ANON))
            continue;
        counters[PAGES_ANON] += next - i;
        counters[FRAMES]++;
        counters[FRAMES_KSM] += (f & FLAG_KSM) != 0;
    }
    if (!tell_ksm)
        counters[FRAMES_KSM] = ABSENT;
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
    counters[PAGES_ANON] = counters[FRAMES] = counters[FRAMES_KSM] = ABSENT;
    if (script.header->with_frames)
        count_frames(pids, counters);
    *n_alive = 0;
    for (uint64_t space = 0; space < n_spaces; space++) {
        if (pids[space]) {
            row[n] = space;
            count_space(pids[space], row + n + 1);
            n += 4;
            ++*n_alive;
        }
    }
    put_record(ROW, row, n * sizeof *row);
}
