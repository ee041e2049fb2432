/*
 * The first and only process of a guest that another kernel is tested in: it makes the file systems that a program
 * needs, loads the modules it was given, and then does what the host asks for over a virtio port, one request at a
 * time. When the host closes the port, or asks for it, the guest powers off.
 *
 * A request is `struct request`, then the name, then the data; the answer is `struct answer`, then data. All numbers
 * are little endian, as both sides are x86-64.
 *
 *   put    writes the file `name`
 *   run    runs the program whose arguments are the data, each ended by a zero byte; answers with its exit status
 *          (128 + the signal that ended it) and what it printed, after all that it left running has ended
 *   get    answers with the bytes of the file `name`
 *   remove removes the file `name`
 *   quit   powers off
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT "/dev/vport0p1"
#define PRINTED "/printed"
#define MAX_NAME 255
#define MAX_ARGUMENTS 64

enum { PUT = 1, RUN, GET, REMOVE, QUIT };

struct request {
	uint32_t verb;
	uint32_t name_bytes;
	uint64_t data_bytes;
};

struct answer {
	int64_t status; /* below zero: the error number */
	uint64_t data_bytes;
};

static int port = -1;

static void power_off(void)
{
	reboot(RB_POWER_OFF);
	_exit(0);
}

static void complain(const char *what)
{
	fprintf(stderr, "guest: %s: %s\n", what, strerror(errno));
}

static void fail(const char *what)
{
	complain(what);
	power_off();
}

/* Set-up */

static void mount_one(const char *type, const char *place)
{
	mkdir(place, 0755);
	if (mount(type, place, type, 0, NULL) != 0 && errno != EBUSY)
		complain(place);
}

static void load_module(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0 || syscall(SYS_finit_module, file, "", 0) != 0)
		complain(path);
	close(file);
}

/* The host numbers the modules, so that those that others need come first. */
static void load_modules(void)
{
	struct dirent **found;
	int count = scandir("/modules", &found, NULL, alphasort);

	for (int i = 0; i < count; i++) {
		char path[300];

		if (found[i]->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/modules/%s", found[i]->d_name);
		load_module(path);
	}
}

/* Lines of "path value"; a file that this kernel does not have is left out. */
static void store_settings(void)
{
	char line[512];
	FILE *list = fopen("/settings", "re");

	while (list && fgets(line, sizeof(line), list)) {
		char *value = strchr(line, ' ');
		int file;

		if (!value)
			continue;
		*value++ = 0;
		value[strcspn(value, "\n")] = 0;
		file = open(line, O_WRONLY | O_CLOEXEC);
		if (file < 0)
			continue;
		if (write(file, value, strlen(value)) < 0)
			complain(line);
		close(file);
	}
	if (list)
		fclose(list);
}

static void open_port(void)
{
	/* The port appears a moment after its driver. */
	for (int tries = 0; tries < 3000 && port < 0; tries++) {
		port = open(PORT, O_RDWR | O_CLOEXEC);
		if (port < 0)
			usleep(10000);
	}
	if (port < 0)
		fail(PORT);
}

/* The channel */

static void take(void *to, size_t bytes)
{
	for (char *at = to; bytes > 0;) {
		ssize_t got = read(port, at, bytes);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			power_off(); /* the host has gone */
		at += got;
		bytes -= (size_t)got;
	}
}

static void give(const void *from, size_t bytes)
{
	for (const char *at = from; bytes > 0;) {
		ssize_t done = write(port, at, bytes);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			power_off();
		at += done;
		bytes -= (size_t)done;
	}
}

static void answer(int64_t status)
{
	struct answer head = { status, 0 };

	give(&head, sizeof(head));
}

static void answer_file(const char *name, int64_t status)
{
	static char piece[1 << 16];
	struct answer head = { status, 0 };
	struct stat about;
	int file = open(name, O_RDONLY | O_CLOEXEC);

	if (file < 0 || fstat(file, &about) != 0) {
		answer(-errno);
		return;
	}
	head.data_bytes = (uint64_t)about.st_size;
	give(&head, sizeof(head));
	for (uint64_t left = head.data_bytes; left > 0;) {
		ssize_t got = read(file, piece, left < sizeof(piece) ? left : sizeof(piece));

		if (got <= 0)
			fail(name); /* the host was told of more bytes */
		give(piece, (size_t)got);
		left -= (uint64_t)got;
	}
	close(file);
}

/* The verbs */

static void put(const char *name, uint64_t bytes)
{
	static char piece[1 << 16];
	int64_t status = 0;
	int file = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	if (file < 0)
		status = -errno;
	while (bytes > 0) {
		size_t part = bytes < sizeof(piece) ? bytes : sizeof(piece);

		take(piece, part);
		if (status == 0 && write(file, piece, part) != (ssize_t)part)
			status = errno ? -errno : -ENOSPC;
		bytes -= part;
	}
	if (file >= 0)
		close(file);
	answer(status);
}

static void become(char *arguments, uint64_t bytes)
{
	char *list[MAX_ARGUMENTS + 1] = { NULL };
	int count = 0;
	int printed = open(PRINTED, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	int nothing = open("/dev/null", O_RDONLY);

	for (uint64_t at = 0; at < bytes && count < MAX_ARGUMENTS; at += strlen(arguments + at) + 1)
		list[count++] = arguments + at;
	if (printed < 0 || nothing < 0 || count == 0)
		_exit(127);
	dup2(nothing, 0);
	dup2(printed, 1);
	dup2(printed, 2);
	execv(list[0], list);
	complain(list[0]);
	_exit(127);
}

/* Ends everything but this process, so that the next program finds a machine as after boot. */
static void end_all(void)
{
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
}

static void run(uint64_t bytes)
{
	char *arguments = calloc(1, bytes + 1);
	int status = 0;
	pid_t child, ended;

	if (!arguments)
		fail("run");
	take(arguments, bytes);
	child = fork();
	if (child == 0)
		become(arguments, bytes);
	free(arguments);
	if (child < 0) {
		answer(-errno);
		return;
	}
	/* Orphans of the program become children of this process and are waited for as well. */
	do {
		int one = 0;

		ended = waitpid(-1, &one, 0);
		if (ended == child)
			status = WIFSIGNALED(one) ? 128 + WTERMSIG(one) : WEXITSTATUS(one);
	} while (ended != child && (ended > 0 || errno == EINTR));
	end_all();
	answer_file(PRINTED, status);
}

static void serve(void)
{
	char name[MAX_NAME + 1];
	struct request asked;

	take(&asked, sizeof(asked));
	if (asked.name_bytes > MAX_NAME)
		fail("a name is too long");
	take(name, asked.name_bytes);
	name[asked.name_bytes] = 0;
	switch (asked.verb) {
	case PUT:
		put(name, asked.data_bytes);
		break;
	case RUN:
		run(asked.data_bytes);
		break;
	case GET:
		answer_file(name, 0);
		break;
	case REMOVE:
		answer(unlink(name) == 0 ? 0 : -errno);
		break;
	default:
		power_off();
	}
}

int main(void)
{
	mount_one("devtmpfs", "/dev");
	mount_one("proc", "/proc");
	mount_one("sysfs", "/sys");
	mount_one("tracefs", "/sys/kernel/tracing");
	mount_one("tmpfs", "/tmp");
	mkdir("/run", 0755);
	mkdir("/run/lock", 0755);
	load_modules();
	store_settings();
	open_port();
	answer(0); /* tells the host that it can begin */
	for (;;)
		serve();
}
