/* What the parts of the player share: the layout of the script, the records of the result, and small helpers.
 *
 * The player does on a real kernel what the events of a trace say, and steps ksmd batch by batch:
 *
 *     player SCRIPT RESULT [--pages FILE] [--parent PID] [--spoil BYTES]
 *
 * One process directs (direct.c, ksmd.c, count.c); one process per address space plays its events (space.c). Script and
 * result are written and read by ksmbench.validate.script and ksmbench.validate.outcome. It needs root, /proc and
 * /sys, and nothing else: it is linked statically, so that it can also be all that an initramfs holds.
 */
#ifndef PLAYER_H
#define PLAYER_H

#include <stdint.h>

#define SCRIPT_MAGIC "ksmplay1"
#define RESULT_MAGIC "ksmdone1"
#define NAME_BYTES 64
#define ABSENT INT64_MIN /* what this kernel does not tell */

enum kind { /* as ksmbench.trace.schema.Kind */
    MAP, UNMAP, MOVE, MADVISE, WRITE, TOUCH, READ, FORK, HUGE_, SHARE, MIGRATE, SWAPOUT, EXEC, EXIT, PRCTL, TUNE, MARK
};
enum mapping { ANONYMOUS, NEVER_MERGEABLE, PRIVATE_FILE };

/* The script: the header, then the tables in the order of their counts. Every table begins on 8 bytes. */
struct header {
    char magic[8];
    uint64_t page_size;
    uint64_t with_frames; /* after every batch: 1 counts frames, 2 also records which page has which */
    uint64_t with_merges; /* whether to record the merge events of tracefs */
    uint64_t first_page, end_page; /* all pages of the trace lie between */
    uint64_t n_settings, n_names, n_spaces, n_ranges, n_batches, n_events, n_contents;
};
struct setting {
    char name[NAME_BYTES], value[NAME_BYTES];
    uint64_t required; /* 0: a default, for kernels that have the file */
};
struct range {
    uint64_t first, end; /* pages */
};
struct event {
    int64_t page, count, value;
    int32_t space;
    int16_t name;
    uint8_t kind, node;
};

/* Where the tables of the script are; shared memory, which ksmd never merges. */
struct script {
    const struct header *header;
    const struct setting *settings;
    const char (*names)[NAME_BYTES];
    const uint8_t *is_child; /* per space: comes to life by a fork */
    const struct range *ranges;
    const uint64_t *batches; /* the events before each, from the start */
    const struct event *events;
    const uint16_t *lcp;
};

/* Descriptors that every process has, also after exec; above those that the player is started with. */
enum { SCRIPT_FD = 500, PAGES_FD, FILE_FD, FIRST_SPACE_FD = 512 };

/* What the director asks of a space's process, and what that answers. */
struct order {
    int64_t first, end; /* events */
};
struct answer {
    int64_t error, event, child; /* error 0: all is done; `child` is the pid that a fork made */
};

/* Records of the result: a tag, the payload's bytes, the payload. */
enum tag { COUNTER_NAMES = 1, ROW, TUNED, FAILED, MERGED, FINISHED, PLACED };

/* direct.c */
extern struct script script;
void open_script(void);
void fail(int64_t event, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
void put_record(enum tag tag, const void *first, uint32_t n_first, const void *then, uint32_t n_then);

/* space.c */
void serve_space(long space, int driver) __attribute__((noreturn));
int space_main(int argc, char **argv) __attribute__((noreturn));
void drain_lru(void);

/* ksmd.c */
void prepare_ksm(void);
void spoil_caches(uint64_t bytes);
void step_ksmd(void);
void tune(int64_t event);
void rest_ksmd(void);
int64_t ksmd_cpu_ns(void);

/* count.c */
void name_counters(void);
void count(int64_t batch, int64_t cpu_ns, const int *pids);
int read_text(int fd, char *text, int room);
int read_once(int fd, char *text, int room);
int64_t field_of(const char *text, const char *name);

/* frames.c */
enum { PAGES_ANON, FRAMES, FRAMES_KSM, N_FRAME_COUNTERS };
void count_frames(int64_t batch, const int *pids, int64_t *counters);

/* merges.c */
void watch_merges(void);
void put_merges(int64_t batch);
void unwatch_merges(void);

#endif
