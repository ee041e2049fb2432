/* The process that directs: starts one process per space, hands out events, steps ksmd, writes the result. */
#define _GNU_SOURCE
#include "player.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct script script;
static FILE *result;
static int *pids;  /* per space: its process, 0 where there is none */
static int *ours;  /* per space: our end of its socket */
static int deaths; /* signals of processes that ended */

/* After the magic of the result: batches done, and whether the result is complete. */
static struct {
    uint64_t n_done, is_complete;
} progress;

static void put_progress(void)
{
    if (pwrite(fileno(result), &progress, sizeof progress, 8) < 0)
        exit(1);
}

/* A record whose payload is in two pieces, or in one. */
void put_record(enum tag tag, const void *first, uint32_t n_first, const void *then, uint32_t n_then)
{
    uint32_t head[2] = {tag, n_first + n_then};
    fwrite(head, sizeof head, 1, result);
    fwrite(first, n_first, 1, result);
    fwrite(then, n_then, 1, result);
}

static void end_all(void)
{
    for (uint64_t space = 0; pids && space < script.header->n_spaces; space++) {
        close(ours[space]); /* a process that nobody told us of ends here */
        if (pids[space] > 0)
            kill(pids[space], SIGKILL);
    }
    while (wait(NULL) > 0)
        ;
}

/* Ends with one sentence; `event` is the row that could not be played, or -1. */
void fail(int64_t event, const char *format, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    end_all();
    if (script.header)
        unwatch_merges();
    if (!result) {
        fprintf(stderr, "%s\n", text);
        exit(1);
    }
    put_record(FAILED, &event, sizeof event, text, strlen(text));
    fflush(result);
    exit(1);
}

static const void *take(const char **next, uint64_t n_bytes)
{
    const void *table = *next;
    *next += (n_bytes + 7) / 8 * 8;
    return table;
}

void open_script(void)
{
    struct stat status;
    if (fstat(SCRIPT_FD, &status) || status.st_size < (off_t)sizeof(struct header))
        fail(-1, "the script cannot be read");
    const char *next = mmap(NULL, status.st_size, PROT_READ, MAP_SHARED, SCRIPT_FD, 0);
    if (next == MAP_FAILED || memcmp(next, SCRIPT_MAGIC, 8))
        fail(-1, "the script is of another version");
    const struct header *h = script.header = take(&next, sizeof(struct header));
    script.settings = take(&next, h->n_settings * sizeof(struct setting));
    script.names = take(&next, h->n_names * NAME_BYTES);
    script.is_child = take(&next, h->n_spaces);
    script.ranges = take(&next, h->n_ranges * sizeof(struct range));
    script.batches = take(&next, h->n_batches * sizeof(uint64_t));
    script.events = take(&next, h->n_events * sizeof(struct event));
    script.lcp = take(&next, h->n_contents * sizeof(uint16_t));
}

static void place(int fd, int number)
{
    if (fd < 0 || dup2(fd, number) < 0)
        fail(-1, "no file descriptor %d: %s", number, strerror(errno));
    if (fd != number)
        close(fd);
}

/* Each content is the least that may follow the one before: what both share, the next byte one higher, then zeroes. */
static void make_contents(void)
{
    uint64_t size = script.header->page_size, n = script.header->n_contents;
    place(memfd_create("contents", 0), PAGES_FD);
    if (ftruncate(PAGES_FD, n * size))
        fail(-1, "no room for the contents: %s", strerror(errno));
    uint8_t *pages = mmap(NULL, n * size, PROT_READ | PROT_WRITE, MAP_SHARED, PAGES_FD, 0);
    if (pages == MAP_FAILED)
        fail(-1, "no room for the contents: %s", strerror(errno));
    for (uint64_t i = 1; i < n; i++) {
        uint8_t *page = pages + i * size;
        memcpy(page, page - size, script.lcp[i]);
        page[script.lcp[i]] = page[(int64_t)script.lcp[i] - (int64_t)size] + 1;
    }
    munmap(pages, n * size);
}

static void open_everything(const char *script_path, const char *result_path, const char *pages_path)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int fd = open(result_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || !(result = fdopen(fcntl(fd, F_DUPFD_CLOEXEC, 3), "w")))
        fail(-1, "%s: %s", result_path, strerror(errno));
    close(fd);
    fwrite(RESULT_MAGIC, 8, 1, result);
    fwrite(&progress, sizeof progress, 1, result);
    place(open(script_path, O_RDONLY), SCRIPT_FD);
    open_script();
    if (pages_path)
        place(open(pages_path, O_RDONLY), PAGES_FD);
    else
        make_contents();
    uint64_t n_bytes = (script.header->end_page - script.header->first_page) * script.header->page_size;
    place(memfd_create("file", 0), FILE_FD); /* what private file mappings map: holes, read as zeroes */
    if (ftruncate(FILE_FD, n_bytes))
        fail(-1, "no file of %llu bytes: %s", (unsigned long long)n_bytes, strerror(errno));
}

static void start_spaces(void)
{
    uint64_t n = script.header->n_spaces;
    sigset_t dead;
    sigemptyset(&dead);
    sigaddset(&dead, SIGCHLD);
    sigprocmask(SIG_BLOCK, &dead, NULL);
    pids = calloc(n, sizeof *pids);
    ours = calloc(n, sizeof *ours);
    memset(ours, -1, n * sizeof *ours);
    for (uint64_t space = 0; space < n; space++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
            fail(-1, "no socket for space %llu: %s", (unsigned long long)space, strerror(errno));
        ours[space] = fcntl(pair[0], F_DUPFD_CLOEXEC, FIRST_SPACE_FD + n);
        close(pair[0]);
        place(pair[1], FIRST_SPACE_FD + space);
    }
    deaths = signalfd(-1, &dead, SFD_CLOEXEC | SFD_NONBLOCK);
    int driver = getpid();
    for (uint64_t space = 0; space < n; space++) {
        if (script.is_child[space])
            continue;
        fflush(result);
        pids[space] = fork();
        if (pids[space] < 0)
            fail(-1, "no process for space %llu: %s", (unsigned long long)space, strerror(errno));
        if (pids[space] == 0) {
            for (uint64_t other = 0; other < n; other++)
                close(ours[other]);
            serve_space(space, driver);
        }
    }
    for (uint64_t space = 0; space < n; space++)
        close(FIRST_SPACE_FD + space);
}

/* What a process answers, or 0 where it has ended. */
static int receive(int64_t space, struct answer *answer)
{
    struct pollfd wanted[2] = {{.fd = ours[space], .events = POLLIN}, {.fd = deaths, .events = POLLIN}};
    for (;;) {
        struct signalfd_siginfo information;
        while (read(deaths, &information, sizeof information) > 0)
            ;
        if (waitpid(pids[space], NULL, WNOHANG) == pids[space])
            break;
        poll(wanted, 2, -1);
        if (!wanted[0].revents)
            continue;
        if (read(ours[space], answer, sizeof *answer) == sizeof *answer)
            return 1;
        waitpid(pids[space], NULL, 0); /* the last process of all is ending: nobody holds the other end */
        break;
    }
    pids[space] = 0;
    return 0;
}

/* Events first .. end - 1 of one space; a fork, exec or exit is the last of them. */
static void play_on(int64_t space, int64_t first, int64_t end)
{
    struct order order = {first, end};
    struct answer answer;
    if (!pids[space])
        fail(first, "space %lld has no process", (long long)space);
    if (write(ours[space], &order, sizeof order) != sizeof order)
        fail(first, "space %lld: %s", (long long)space, strerror(errno));
    const struct event *last = &script.events[end - 1];
    if (!receive(space, &answer)) {
        if (last->kind != EXIT)
            fail(first, "the process of space %lld ended while it played the events from this row on",
                 (long long)space);
        return;
    }
    if (answer.error == EBUSY && script.events[answer.event].kind == MIGRATE)
        fail(answer.event, "pages stayed on another NUMA node, however often they were moved");
    if (answer.error)
        fail(answer.event, "a process could not do this: %s", strerror(answer.error));
    if (last->kind == FORK)
        pids[last->value] = answer.child;
}

static int ends_order(const struct event *e)
{
    return e->kind == FORK || e->kind == EXIT || e->kind == EXEC;
}

static void play(int64_t first, int64_t end)
{
    while (first < end) {
        const struct event *e = &script.events[first];
        int64_t next = first + 1;
        if (e->kind == TUNE) {
            tune(first);
        } else if (e->kind != MARK) {
            while (next < end && !ends_order(&script.events[next - 1]) && script.events[next].space == e->space &&
                   script.events[next].kind != TUNE && script.events[next].kind != MARK)
                next++;
            play_on(e->space, first, next);
        }
        first = next;
    }
}

int main(int argc, char **argv)
{
    const char *pages_path = NULL;
    uint64_t spoiled = 0;
    if (argc > 1 && !strcmp(argv[1], "--space"))
        space_main(argc, argv);
    if (argc < 3) {
        fprintf(stderr, "usage: %s SCRIPT RESULT [--pages FILE] [--parent PID] [--spoil BYTES]\n", argv[0]);
        return 2;
    }
    for (int i = 3; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--pages"))
            pages_path = argv[i + 1];
        if (!strcmp(argv[i], "--spoil"))
            spoiled = strtoull(argv[i + 1], NULL, 10);
        if (!strcmp(argv[i], "--parent")) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != atoi(argv[i + 1]))
                return 1;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    open_everything(argv[1], argv[2], pages_path);
    prepare_ksm();
    name_counters();
    watch_merges();
    start_spaces();
    count(-1, 0, pids);
    int64_t done = 0;
    for (uint64_t i = 0; i < script.header->n_batches; i++) {
        play(done, script.batches[i]);
        done = script.batches[i];
        drain_lru();
        spoil_caches(spoiled);
        int64_t before = ksmd_cpu_ns();
        step_ksmd();
        count(i, ksmd_cpu_ns() - before, pids);
        put_merges(i);
        rest_ksmd();
        progress.n_done = i + 1;
        if (i % 16 == 0)
            put_progress();
    }
    end_all();
    unwatch_merges();
    put_record(FINISHED, "", 0, "", 0);
    fflush(result);
    progress.is_complete = 1;
    put_progress();
    return 0;
}
