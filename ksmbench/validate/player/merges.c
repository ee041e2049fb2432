/* KSM's merge events, by an instance of tracefs of its own: what ksmd merged with which frame, in its order. */
#define _GNU_SOURCE
#include "player.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRACING "/sys/kernel/tracing"
#define INSTANCE TRACING "/instances/ksmbench"
#define ROOM (1 << 20)

static const char *const watched[] = {"ksm_merge_with_ksm_page", "ksm_merge_one_page"};
static int pipe_fd = -1;

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_TRUNC);
    if (fd < 0)
        return 0;
    int done = write(fd, text, strlen(text)) >= 0;
    close(fd);
    return done;
}

/* Where tracefs is not mounted it is for this process and those it starts alone. Without it nothing is recorded. */
void watch_merges(void)
{
    char path[200];
    if (!script.header->with_merges)
        return;
    if (access(TRACING "/instances", W_OK) && !unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        mount("tracefs", TRACING, "tracefs", 0, NULL);
    if (mkdir(INSTANCE, 0700) && errno != EEXIST)
        return;
    int done = write_file(INSTANCE "/trace", "");
    for (size_t i = 0; i < sizeof watched / sizeof *watched; i++) {
        snprintf(path, sizeof path, INSTANCE "/events/ksm/%s/enable", watched[i]);
        done &= write_file(path, "1");
    }
    if (done)
        pipe_fd = open(INSTANCE "/trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

/* A record with the lines since the last; none where nothing is recorded. */
void put_merges(int64_t batch)
{
    static char text[ROOM];
    if (pipe_fd < 0)
        return;
    size_t n = 0;
    ssize_t got;
    while (n < ROOM && (got = read(pipe_fd, text + n, ROOM - n)) > 0)
        n += got;
    put_record(MERGED, &batch, sizeof batch, text, n);
    while (n == ROOM && read(pipe_fd, text, ROOM) > 0)
        ; /* more than there is room for: the reader sees that the last line is torn */
}

void unwatch_merges(void)
{
    if (pipe_fd >= 0)
        close(pipe_fd);
    if (script.header->with_merges)
        rmdir(INSTANCE);
}
