/* What the page tables say: the anonymous frames that the trace's mappings use, which are KSM's, and who has which. */
#define _GNU_SOURCE
#include "player.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#define PRESENT (1ULL << 63)
#define FRAME_BITS ((1ULL << 55) - 1)
#define FLAG_ANON (1ULL << 12)
#define FLAG_KSM (1ULL << 21)
#define FLAG_ZERO (1ULL << 24)
#define WORDS 8192

/* A page that is present, and then a frame that several may have. */
struct place {
    uint64_t space, page, frame; /* frame: its number, and KSM_BIT */
};
#define KSM_BIT (1ULL << 63)
static struct place *places;
static uint64_t *frames, *flags;
static size_t room;
static int tell_ksm; /* whether the kernel's flags do */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void grow(size_t n)
{
    if (n <= room)
        return;
    room = 2 * n;
    places = realloc(places, room * sizeof *places);
    frames = realloc(frames, room * sizeof *frames);
    flags = realloc(flags, room * sizeof *flags);
    if (!places || !frames || !flags)
        fail(-1, "out of memory");
}

/* Every present page of the trace's mappings in all processes, by space and address; their number. */
static size_t find_places(const int *pids)
{
    static uint64_t words[WORDS];
    size_t n = 0;
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
                grow(n + WORDS);
                for (ssize_t i = 0; i < got; i++)
                    if (words[i] & PRESENT)
                        places[n++] = (struct place){space, page + i, words[i] & FRAME_BITS};
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
    uint64_t page = ((uintptr_t)own >> 12) + 1, frame = 0, word = FLAG_KSM;
    own[sizeof own / 2] = 1;
    int fd = open("/proc/self/pagemap", O_RDONLY);
    if (pread(fd, &frame, 8, page * 8) != 8 || pread(flags_fd, &word, 8, (frame & FRAME_BITS) * 8) != 8)
        fail(-1, "/proc/self/pagemap or /proc/kpageflags cannot be read");
    close(fd);
    return !(word & FLAG_KSM);
}

/* The flags of every frame; `frames` is in order. As many at once as lie close: the kernel takes its time for each. */
static void read_flags(size_t n)
{
    static int fd = -1;
    static uint64_t words[WORDS];
    if (fd < 0) {
        fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
        tell_ksm = flags_tell_ksm(fd);
    }
    for (size_t i = 0; i < n;) {
        size_t next = i + 1;
        while (next < n && frames[next] <= frames[next - 1] + 4 && frames[next] < frames[i] + WORDS)
            next++;
        ssize_t bytes = (frames[next - 1] - frames[i] + 1) * 8;
        if (pread(fd, words, bytes, frames[i] * 8) != bytes)
            fail(-1, "/proc/kpageflags cannot be read");
        for (size_t first = i; i < next; i++)
            flags[i] = words[frames[i] - frames[first]];
    }
}

/* Counts the frames, and with `with_frames` 2 puts a record of who has which. */
void count_frames(int64_t batch, const int *pids, int64_t *counters)
{
    size_t n = find_places(pids), n_frames = 0, n_anon = 0;
    for (size_t i = 0; i < n; i++)
        frames[i] = places[i].frame;
    if (n)
        qsort(frames, n, sizeof *frames, by_number);
    for (size_t i = 0; i < n; i++)
        if (!n_frames || frames[n_frames - 1] != frames[i])
            frames[n_frames++] = frames[i];
    read_flags(n_frames);
    counters[FRAMES] = counters[FRAMES_KSM] = 0;
    for (size_t i = 0; i < n_frames; i++) {
        int anonymous = (flags[i] & FLAG_ANON) && !(flags[i] & FLAG_ZERO);
        flags[i] = anonymous ? flags[i] : 0;
        counters[FRAMES] += anonymous;
        counters[FRAMES_KSM] += (flags[i] & FLAG_KSM) != 0;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t *found = bsearch(&places[i].frame, frames, n_frames, sizeof *frames, by_number);
        uint64_t f = flags[found - frames];
        if (!f)
            continue;
        places[n_anon] = places[i];
        places[n_anon++].frame |= f & FLAG_KSM ? KSM_BIT : 0;
    }
    counters[PAGES_ANON] = n_anon;
    if (!tell_ksm)
        counters[FRAMES_KSM] = ABSENT;
    if (script.header->with_frames == 2)
        put_record(PLACED, &batch, sizeof batch, places, n_anon * sizeof *places);
}
