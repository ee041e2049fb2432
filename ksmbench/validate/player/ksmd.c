/* KSM's settings, and exactly one batch of ksmd at a time.
 *
 * Between batches ksmd waits in its idle wait with run = 0, whatever the trace says of run, so that no event makes it
 * start early. A step stores run = 1: ksmd runs a batch, if anything is registered, and sleeps for what would be weeks.
 * Then run = 0 and another, equally long sleep: the changed number wakes it, it finds nothing to do, and idles again.
 */
#define _GNU_SOURCE
#include "player.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define ROOT "/sys/kernel/mm/ksm/"
#define PATIENCE_S 600
#define SPIN_S 0.0003

/* What /proc says of ksmd at one moment. */
struct sight {
    char state;
    int64_t voluntary, involuntary; /* switches to other tasks */
};

static const char *const sleeps[] = {"4000000000", "4000000001"};
static int turn, status_fd = -1, schedstat_fd = -1, stat_fd = -1;
static int64_t run = 1; /* as the trace has it */

static int store(const char *name, const char *value)
{
    char path[sizeof ROOT + NAME_BYTES];
    snprintf(path, sizeof path, ROOT "%s", name);
    int fd = open(path, O_WRONLY);
    if (fd < 0)
        return errno;
    int error = write(fd, value, strlen(value)) < 0 ? errno : 0;
    close(fd);
    return error;
}

static void must_store(const char *name, const char *value)
{
    int error = store(name, value);
    if (error)
        fail(-1, "%s%s does not take %s: %s", ROOT, name, value, strerror(error));
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static struct sight look(void)
{
    char text[4096];
    if (read_once(status_fd, text, sizeof text) <= 0)
        fail(-1, "ksmd cannot be watched in /proc");
    const char *state = strstr(text, "\nState:\t");
    return (struct sight){state ? state[8] : 0, field_of(text, "\nvoluntary_ctxt_switches:"),
                          field_of(text, "\nnonvoluntary_ctxt_switches:")};
}

static int same(struct sight a, struct sight b)
{
    return a.state == b.state && a.voluntary == b.voluntary && a.involuntary == b.involuntary;
}

/* Until ksmd sleeps again after `before`, or, where it may not have been woken at all, shows no sign of that.
 * A task that is about to sleep already looks asleep: it is believed when nothing changed between two looks. */
static void wait_asleep(struct sight before, int may_sleep_on)
{
    double begin = now();
    for (;;) {
        struct sight first = look(), second = look();
        int woke = second.voluntary > before.voluntary || (may_sleep_on && same(second, before));
        if (second.state == 'S' && same(first, second) && woke)
            return;
        double waited = now() - begin;
        if (waited > PATIENCE_S)
            fail(-1, "ksmd did not end a batch within %d s", PATIENCE_S);
        if (waited > SPIN_S)
            nanosleep(&(struct timespec){0, waited > 0.05 ? 2000000 : 50000}, NULL);
        else
            sched_yield();
    }
}

static void make_idle(void)
{
    must_store("run", "0");
    struct sight before = look();
    turn = !turn;
    must_store("sleep_millisecs", sleeps[turn]);
    wait_asleep(before, 1);
}

static int is_ksmd(const char *pid)
{
    char path[300], text[32];
    snprintf(path, sizeof path, "/proc/%s/comm", pid);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return 0;
    int n = read_once(fd, text, sizeof text);
    close(fd);
    return n > 0 && !strcmp(text, "ksmd\n");
}

static void find_ksmd(void)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    while (proc && (entry = readdir(proc)) && status_fd < 0) {
        char path[300];
        if (!isdigit((unsigned char)entry->d_name[0]) || !is_ksmd(entry->d_name))
            continue;
        snprintf(path, sizeof path, "/proc/%s/status", entry->d_name);
        status_fd = open(path, O_RDONLY);
        snprintf(path, sizeof path, "/proc/%s/schedstat", entry->d_name);
        schedstat_fd = open(path, O_RDONLY);
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        stat_fd = open(path, O_RDONLY);
    }
    if (proc)
        closedir(proc);
    if (status_fd < 0)
        fail(-1, "ksmd is not visible in /proc");
}

/* Nothing merged, ksmd idle, the settings of the script stored. */
void prepare_ksm(void)
{
    if (access(ROOT "run", W_OK))
        fail(-1, "this kernel has no KSM that may be used (%srun)", ROOT);
    find_ksmd();
    must_store("run", "0");
    must_store("run", "2");
    make_idle();
    for (uint64_t i = 0; i < script.header->n_settings; i++) {
        const struct setting *s = &script.settings[i];
        char path[sizeof ROOT + NAME_BYTES];
        snprintf(path, sizeof path, ROOT "%s", s->name);
        if (!strcmp(s->name, "run"))
            run = atoll(s->value);
        else if (s->required || !access(path, W_OK))
            must_store(s->name, s->value);
    }
    if (run == 2)
        must_store("run", "2");
}

/* The processor that ksmd ran on last, or -1. */
static int ksmd_cpu(void)
{
    char text[1024];
    if (read_once(stat_fd, text, sizeof text) <= 0)
        return -1;
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 39; field++)
        at = strchr(at + 1, ' ');
    return at ? atoi(at) : -1;
}

/* Uses so much memory where ksmd ran that its caches hold nothing else, as they do on a host with work. */
void spoil_caches(uint64_t bytes)
{
    static volatile char *memory;
    cpu_set_t before, there;
    int cpu = bytes ? ksmd_cpu() : -1;
    if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof before, &before))
        return;
    if (!memory) /* shared: KSM never merges it */
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == (volatile char *)MAP_FAILED)
        fail(-1, "no memory to spoil the caches with");
    CPU_ZERO(&there);
    CPU_SET(cpu, &there);
    sched_setaffinity(0, sizeof there, &there);
    for (uint64_t i = 0; i < bytes; i += 64)
        memory[i]++;
    sched_setaffinity(0, sizeof before, &before);
}

/* Runs exactly one batch, if anything is registered. */
void step_ksmd(void)
{
    if (run != 1)
        return;
    must_store("sleep_millisecs", sleeps[turn]); /* a tune may have changed it; ksmd is idle and does not mind */
    struct sight before = look();
    must_store("run", "1");
    wait_asleep(before, 0);
}

/* The store of a tune event; of run, ksmd learns at the next step. */
void tune(int64_t event)
{
    const struct event *e = &script.events[event];
    char value[24];
    const char *name = script.names[e->name];
    snprintf(value, sizeof value, "%lld", (long long)e->value);
    if (!strcmp(name, "advisor_mode"))
        snprintf(value, sizeof value, "%s", e->value == 0 ? "none" : e->value == 1 ? "scan-time" : "?");
    int is_run = !strcmp(name, "run");
    if (is_run && e->value == 1)
        snprintf(value, sizeof value, "0");
    int64_t outcome[2] = {event, store(name, value)};
    if (is_run && !outcome[1])
        run = e->value;
    put_record(TUNED, outcome, sizeof outcome, "", 0);
}

int64_t ksmd_cpu_ns(void)
{
    char text[128];
    return read_once(schedstat_fd, text, sizeof text) > 0 ? atoll(text) : ABSENT;
}

/* After the counters are read: ksmd is to idle while events are played. */
void rest_ksmd(void)
{
    if (run == 1)
        make_idle();
}
