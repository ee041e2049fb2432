/* The process of one address space: it plays the events it is told to, and adds nothing that ksmd sees. */
#define _GNU_SOURCE
#include "player.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
enum { DONTNEED = 4, DONTFORK = 10, DOFORK = 11, MERGEABLE = 12, UNMERGEABLE = 13, WIPEONFORK = 18, KEEPONFORK = 19 };
enum { COLLAPSE = 25, DEFAULT = 0, BIND = 2, MOVE_OWN = 2, MOVE_ALL = 4 };
enum { HUGE_PAGES = 512, TRIES = 50, MOVED_AT_ONCE = 512 };
#define END_OF_ADDRESSES 0x7ffffffff000UL

static const uint8_t *pages; /* the contents, in shared memory */
static uint64_t page_size;
static int n_nodes = 1;
static sigjmp_buf after_fault;

/* Never touched: pages of it are absent. */
static char untouched[4096] __attribute__((aligned(4096)));
/* For /proc/self/maps: a process that asked for merging as a whole must not map memory of its own. */
static char maps[1 << 20];

/* Empties every CPU's batches of pages on their way to the LRU lists: a page in one cannot be merged. */
void drain_lru(void)
{
    if (syscall(SYS_mbind, untouched, sizeof untouched, 0, NULL, 0, MOVE_OWN) == 0)
        return;
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
    if (fd >= 0) {
        if (write(fd, "1", 1) != 1)
            _exit(1);
        close(fd);
    }
}

static void *at(int64_t page)
{
    return (void *)(page * page_size);
}

/* What the process has of its own is not to be merged: ksmd sees the mappings of the trace alone. */
static void hide_own_memory(void)
{
    uint64_t first = script.header->first_page * page_size, end = script.header->end_page * page_size;
    madvise(NULL, first, UNMERGEABLE); /* ENOMEM where there are holes, done all the same */
    madvise((void *)end, END_OF_ADDRESSES - end, UNMERGEABLE);
}

static void on_fault(int number)
{
    siglongjmp(after_fault, number);
}

static void count_nodes(void)
{
    char text[64] = "";
    int fd = open("/sys/devices/system/node/online", O_RDONLY);
    if (fd < 0)
        return;
    if (read_text(fd, text, sizeof text) > 0 && strchr(text, '-'))
        n_nodes = 1 + atoi(strchr(text, '-') + 1);
    close(fd);
}

static int allocate_on(int node)
{
    unsigned long mask = 1UL << node;
    if (n_nodes == 1)
        return 0;
    return syscall(SYS_set_mempolicy, BIND, &mask, 8 * sizeof mask) ? errno : 0;
}

/* Calls `act` for the part of every mapping that lies in the range; the first error ends it. */
static int for_each_mapping(char *start, char *end, int (*act)(char *, char *, int64_t), int64_t value)
{
    int fd = open("/proc/self/maps", O_RDONLY);
    int room = sizeof maps - 1, n = 0, got = 1, error = 0;
    while (fd >= 0 && n < room && got > 0) {
        got = read(fd, maps + n, room - n);
        n += got > 0 ? got : 0;
    }
    close(fd);
    if (n == room)
        return E2BIG;
    maps[n] = 0;
    for (char *line = maps; *line && !error; line = strchr(line, '\n') + 1) {
        char *middle, *low = (char *)strtoul(line, &middle, 16), *high = (char *)strtoul(middle + 1, NULL, 16);
        low = low < start ? start : low;
        high = high > end ? end : high;
        if (low < high)
            error = act(low, high, value);
    }
    return error;
}

static int map(const struct event *e, char *start, size_t length)
{
    int flags = MAP_FIXED_NOREPLACE | MAP_NORESERVE, fd = -1;
    off_t offset = 0;
    munmap(start, length);
    if (e->value == PRIVATE_FILE) {
        flags |= MAP_PRIVATE;
        fd = FILE_FD;
        offset = (e->page - script.header->first_page) * page_size;
    } else {
        flags |= MAP_ANONYMOUS | (e->value == NEVER_MERGEABLE ? MAP_SHARED : MAP_PRIVATE);
    }
    return mmap(start, length, PROT_READ | PROT_WRITE, flags, fd, offset) == start ? 0 : errno ? errno : EEXIST;
}

/* Before 6.17 mremap moves one mapping at a time. */
static int move_mapping(char *low, char *high, int64_t by)
{
    size_t length = high - low;
    return mremap(low, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, low + by) == MAP_FAILED ? errno : 0;
}

static int nothing_but_tell(char *low, char *high, int64_t value)
{
    (void)low, (void)high, (void)value;
    return EEXIST;
}

static int move(const struct event *e, char *start, size_t length)
{
    char *target = at(e->value);
    if (target < start + length && start < target + length)
        return 0; /* mremap refuses it, and a replay counts it as odd */
    if (!for_each_mapping(start, start + length, nothing_but_tell, 0))
        return 0; /* nothing is mapped there: odd as well */
    munmap(target, length);
    return for_each_mapping(start, start + length, move_mapping, target - start);
}

static int advise_mapping(char *low, char *high, int64_t advice)
{
    return madvise(low, high - low, advice) && errno != EINVAL ? errno : 0;
}

/* Only advice that a replay knows. HUGEPAGE would let faults take huge frames; in a trace only `huge` says so. */
static int advise(char *start, size_t length, int64_t advice)
{
    switch (advice) {
    case DONTNEED: case DONTFORK: case DOFORK: case MERGEABLE: case UNMERGEABLE: case WIPEONFORK: case KEEPONFORK:
        if (!madvise(start, length, advice) || errno == ENOMEM)
            return 0;
        return for_each_mapping(start, start + length, advise_mapping, advice); /* a file refuses WIPEONFORK */
    }
    return 0;
}

/* Writes, touches or reads each page; a page that nothing maps is left out, as in a replay. */
static void access_pages(const struct event *e, char *start, size_t length)
{
    volatile size_t offset = 0;
    if (sigsetjmp(after_fault, 0))
        offset += page_size;
    for (; offset < length; offset += page_size) {
        volatile char *page = start + offset;
        if (e->kind == WRITE)
            memcpy((char *)page, pages + e->value * page_size, page_size);
        else if (e->kind == READ)
            (void)*page;
        else
            *page = *page;
    }
}

/* How many of the pages are on another node; one that is absent or a zero page is on none. */
static int64_t count_elsewhere(void **addresses, long n, int node)
{
    static int on[MOVED_AT_ONCE];
    int64_t elsewhere = 0;
    if (syscall(SYS_move_pages, 0, n, addresses, NULL, on, 0) < 0)
        return -errno;
    for (long i = 0; i < n; i++)
        elsewhere += on[i] >= 0 ? on[i] != node : on[i] != -ENOENT && on[i] != -EFAULT;
    return elsewhere;
}

/* Asks afterwards where the pages are: move_pages leaves some behind without telling which. */
static int move_to_node(char *start, size_t length, int node)
{
    static void *addresses[MOVED_AT_ONCE];
    static int nodes[MOVED_AT_ONCE], status[MOVED_AT_ONCE];
    if (node >= n_nodes)
        return ENODEV;
    for (char *from = start; n_nodes > 1 && from < start + length; from += MOVED_AT_ONCE * page_size) {
        long n = 0;
        for (; n < MOVED_AT_ONCE && from + n * page_size < start + length; n++) {
            addresses[n] = from + n * page_size;
            nodes[n] = node;
        }
        int64_t elsewhere = count_elsewhere(addresses, n, node);
        for (int attempt = 0; elsewhere > 0 && attempt < TRIES; attempt++) {
            drain_lru();
            if (syscall(SYS_move_pages, 0, n, addresses, nodes, status, MOVE_ALL) < 0)
                return errno;
            elsewhere = count_elsewhere(addresses, n, node);
        }
        if (elsewhere)
            return elsewhere < 0 ? -elsewhere : EBUSY;
    }
    return 0;
}

/* Written first: what is merged or shared cannot be collapsed, nor what is still on its way to the LRU lists. */
static int collapse(const struct event *e, char *start, size_t length)
{
    size_t block = HUGE_PAGES * page_size;
    char *first = (char *)(((uintptr_t)start + block - 1) / block * block);
    for (; first + block <= start + length; first += block) {
        static unsigned char resident[HUGE_PAGES];
        if (mincore(first, block, resident))
            continue; /* not mapped as a whole */
        access_pages(e, first, block);
        int failed = 1;
        for (int attempt = 0; failed && attempt < TRIES; attempt++) {
            drain_lru();
            failed = madvise(first, block, COLLAPSE);
        }
        if (failed)
            return errno;
        int error = move_to_node(first, block, e->node);
        if (error)
            return error;
    }
    return 0;
}

static int play_on_node(const struct event *e, char *start, size_t length)
{
    switch (e->kind) {
    case MAP:
        return map(e, start, length);
    case UNMAP:
        return munmap(start, length) ? errno : 0;
    case MOVE:
        return move(e, start, length);
    case MADVISE:
        return advise(start, length, e->value);
    case WRITE: case TOUCH: case READ:
        access_pages(e, start, length);
        return 0;
    case HUGE_:
        return collapse(e, start, length);
    case MIGRATE:
        return move_to_node(start, length, e->value);
    case PRCTL:
        if (prctl(PR_SET_MEMORY_MERGE, e->value ? 1 : 0, 0, 0, 0))
            return errno;
        hide_own_memory();
        return 0;
    }
    return ENOSYS;
}

/* What somebody else unshares later is allocated where the processors are: no event leaves its policy behind. */
static int play(const struct event *e)
{
    int error = allocate_on(e->node); /* node 0 for what only unshares */
    if (!error)
        error = play_on_node(e, at(e->page), e->count * page_size);
    if (n_nodes > 1 && syscall(SYS_set_mempolicy, DEFAULT, NULL, 0) && !error)
        error = errno;
    return error;
}

static void start_again(long space, int driver)
{
    char number[24], parent[24];
    snprintf(number, sizeof number, "%ld", space);
    snprintf(parent, sizeof parent, "%d", driver);
    char *arguments[] = {"ksm-player", "--space", number, parent, NULL};
    execv("/proc/self/exe", arguments);
}

/* Dies with the process that directs, whoever forked it. */
static void begin(int driver)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != driver)
        _exit(1);
}

static void reply(long space, struct answer answer)
{
    if (write(FIRST_SPACE_FD + space, &answer, sizeof answer) != sizeof answer)
        _exit(1);
}

void serve_space(long space, int driver)
{
    struct sigaction on = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
    page_size = script.header->page_size;
    begin(driver);
    sigaction(SIGSEGV, &on, NULL);
    sigaction(SIGBUS, &on, NULL);
    count_nodes();
    pages = mmap(NULL, script.header->n_contents * page_size, PROT_READ, MAP_SHARED, PAGES_FD, 0);
    if (pages == MAP_FAILED)
        _exit(1);
    for (;;) {
        struct order order;
        struct answer answer = {0};
        if (read(FIRST_SPACE_FD + space, &order, sizeof order) != sizeof order)
            _exit(0);
        for (int64_t i = order.first; i < order.end && !answer.error; i++) {
            const struct event *e = &script.events[i];
            answer.event = i;
            if (e->kind == EXIT)
                _exit(0);
            if (e->kind == EXEC) {
                start_again(space, driver);
                answer.error = errno;
            } else if (e->kind == FORK) {
                /* A sibling rather than a child, so that the process that directs is the parent of all. */
                answer.child = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
                if (answer.child == 0) {
                    space = e->value;
                    begin(driver);
                    order.end = 0;
                } else if (answer.child < 0) {
                    answer.error = errno;
                }
            } else {
                answer.error = play(e);
            }
        }
        if (order.end)
            reply(space, answer);
    }
}

/* After an exec: an empty address space, in which merging may have been asked for as a whole. */
int space_main(int argc, char **argv)
{
    if (argc != 4)
        _exit(2);
    long space = atol(argv[2]);
    open_script();
    hide_own_memory();
    reply(space, (struct answer){0});
    serve_space(space, atoi(argv[3]));
}
