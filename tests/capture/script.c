/*
 * A known script of mixed memory operations, for a test of the capture: who does what is drawn from a seed, each call
 * that succeeds is written to a log, and at each checkpoint every process says what its memory holds.
 *
 * script SEED OPERATIONS EVERY FOLDER
 *
 * The first process draws who acts: itself or one of its children. Nobody acts at the same time as another, so the log
 * has the order in which the kernel saw the calls. After each EVERY operations all wait: "checkpoint K" goes to
 * FOLDER/asked, and a line from FOLDER/answered lets them go on.
 *
 * Nothing here allocates behind our back: no stdio, no malloc; the heap belongs to the script.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define REGIONS 48
#define CHILDREN 5
#define HUGE_PAGES 512UL
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#define MEMORY_MERGE 67

struct region { char *at; unsigned long pages; int kind; }; /* kind as in a trace: 0 anonymous, 1 shared, 2 file */
struct child { pid_t pid; int command, answer; };

static struct region regions[REGIONS];
static struct child children[CHILDREN];
static char *heap, *heap_end;
static uint64_t state;
static int log_file, is_first = 1, merges;
static const char *folder;
static char *program;
static int command_fd = -1, answer_fd = -1;

static uint64_t draw(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state * 0x2545F4914F6CDD1DULL >> 11) % below;
}

static void die(const char *why)
{
	write(2, why, strlen(why));
	write(2, "\n", 1);
	_exit(3);
}

static char *number(char *to, unsigned long value)
{
	char digits[24];
	int n = 0;
	do
		digits[n++] = '0' + value % 10;
	while (value /= 10);
	while (n)
		*to++ = digits[--n];
	return to;
}

/* One line: the process, the verb as in a trace, and up to four numbers. */
static void said_of(pid_t pid, const char *verb, int count, ...)
{
	char line[160], *to = number(line, pid);
	va_list values;
	*to++ = ' ';
	to = stpcpy(to, verb);
	va_start(values, count);
	while (count--) {
		*to++ = ' ';
		to = number(to, va_arg(values, unsigned long));
	}
	va_end(values);
	*to++ = '\n';
	if (write(log_file, line, to - line) != to - line)
		die("the log cannot be written");
}

#define said(...) said_of(getpid(), __VA_ARGS__)

static unsigned long page_of(const void *at)
{
	return (unsigned long)at / PAGE;
}

/* What this process's regions hold: page, entry of pagemap, hash of the bytes; 24 bytes each, the heap among them. */
static void report(unsigned long checkpoint)
{
	static uint64_t out[3 * 512];
	static unsigned char bytes[PAGE];
	char path[512], *to = stpcpy(stpcpy(path, folder), "/report-");
	*(to = number(to, checkpoint)) = '-';
	*number(to + 1, getpid()) = 0;
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int pagemap = open("/proc/self/pagemap", O_RDONLY), memory = open("/proc/self/mem", O_RDONLY);
	if (file < 0 || pagemap < 0 || memory < 0)
		die("a report cannot be made");
	unsigned n = 0;
	for (int i = 0; i <= REGIONS; i++) {
		char *at = i < REGIONS ? regions[i].at : heap;
		unsigned long pages = i < REGIONS ? regions[i].pages : (unsigned long)(heap_end - heap) / PAGE;
		if (!at || (i < REGIONS && regions[i].kind))
			continue;
		for (unsigned long k = 0; k < pages; k++) {
			uint64_t entry, hash = 0xcbf29ce484222325ULL, word;
			off_t page = page_of(at) + k;
			if (pread(pagemap, &entry, 8, 8 * page) != 8)
				die("pagemap cannot be read");
			if (!(entry >> 63))
				continue;
			/* Not by our own loads: they would need the page to be readable, and mark it. */
			if (pread(memory, bytes, PAGE, page * PAGE) != PAGE)
				die("memory cannot be read");
			for (unsigned b = 0; b < PAGE; b += 8) {
				memcpy(&word, bytes + b, 8);
				hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL;
				hash ^= hash >> 29;
			}
			out[n++] = page;
			out[n++] = entry;
			out[n++] = hash;
			if (n == 3 * 512) {
				write(file, out, sizeof out);
				n = 0;
			}
		}
	}
	write(file, out, 8 * n);
	close(file);
	close(pagemap);
	close(memory);
}

static struct region *free_region(void)
{
	for (int i = 0; i < REGIONS; i++)
		if (!regions[i].at)
			return &regions[i];
	return NULL;
}

/* Any that there is, of kind 0 where `anonymous`. */
static struct region *some_region(int anonymous)
{
	for (int tries = 0; tries < 200; tries++) {
		struct region *r = &regions[draw(REGIONS)];
		if (r->at && (!anonymous || !r->kind))
			return r;
	}
	return NULL;
}

static void do_map(void)
{
	struct region *r = free_region();
	int kind = draw(8), flags = MAP_PRIVATE | MAP_ANONYMOUS, file = -1;
	unsigned long pages = 1 + draw(draw(12) ? 40 : 1200);
	if (!r)
		return;
	kind = kind < 6 ? 0 : kind == 6 ? 1 : 2;
	if (kind == 1)
		flags = MAP_SHARED | MAP_ANONYMOUS;
	if (kind == 2) {
		flags = MAP_PRIVATE;
		pages = 1;
		if ((file = open(program, O_RDONLY)) < 0)
			die("the program cannot be opened");
	}
	if (!kind && pages < 64 && !draw(8))
		flags |= MAP_POPULATE;
	char *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags, file, 0);
	if (file >= 0)
		close(file);
	if (at == MAP_FAILED)
		return;
	*r = (struct region){ at, pages, kind };
	said("map", 3, page_of(at), pages, (unsigned long)kind);
}

static void do_unmap(void)
{
	struct region *r = some_region(0);
	unsigned long from = 0, pages;
	if (!r)
		return;
	pages = r->pages;
	if (draw(2) && pages > 1) { /* its end only */
		from = 1 + draw(pages - 1);
		pages -= from;
	}
	if (munmap(r->at + from * PAGE, pages * PAGE))
		return;
	said("unmap", 2, page_of(r->at) + from, pages);
	r->pages = from;
	if (!from)
		r->at = NULL;
}

static void do_remap(void)
{
	struct region *r = some_region(1);
	unsigned long pages, old;
	if (!r)
		return;
	old = r->pages;
	pages = 1 + draw(2 * old);
	/* A region that advice or mprotect cut into several mappings cannot be moved as one: then it fails. */
	char *at = mremap(r->at, old * PAGE, pages * PAGE, MREMAP_MAYMOVE);
	if (at == MAP_FAILED)
		return;
	if (pages < old)
		said("unmap", 2, page_of(r->at) + pages, old - pages);
	if (at != r->at)
		said("move", 3, page_of(r->at), pages < old ? pages : old, page_of(at));
	if (pages > old)
		said("map", 3, page_of(at) + old, pages - old, 0UL);
	*r = (struct region){ at, pages, 0 };
}

static const int advices[] = { MADV_DONTNEED, MADV_DONTNEED, MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_HUGEPAGE,
	MADV_NOHUGEPAGE, MADV_FREE, MADV_DONTFORK, MADV_DOFORK, MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_COLD,
	MADV_POPULATE_READ, MADV_POPULATE_WRITE };

static void do_advise(void)
{
	struct region *r = some_region(1);
	if (!r)
		return;
	unsigned long from = draw(r->pages), pages = 1 + draw(r->pages - from);
	int advice = advices[draw(sizeof advices / sizeof *advices)];
	if ((advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE) && pages > 64)
		pages = 64;
	if (madvise(r->at + from * PAGE, pages * PAGE, advice))
		return;
	if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE)
		said(advice == MADV_POPULATE_WRITE ? "touch" : "read", 2, page_of(r->at) + from, pages);
	else
		said("madvise", 3, page_of(r->at) + from, pages, (unsigned long)advice);
}

static void do_protect(void)
{
	struct region *r = some_region(1);
	if (r && !mprotect(r->at, r->pages * PAGE, PROT_READ | PROT_WRITE | (draw(2) ? PROT_EXEC : 0)))
		return; /* no event: what may be done with pages is not what is in them */
}

static void do_brk(void)
{
	unsigned long pages = draw(40), had = (heap_end - heap) / PAGE;
	char *now = (char *)syscall(SYS_brk, heap + pages * PAGE);
	if (now != heap + pages * PAGE)
		return;
	if (pages > had)
		said("map", 3, page_of(heap) + had, pages - had, 0UL);
	else if (pages < had)
		said("unmap", 2, page_of(heap) + pages, had - pages);
	heap_end = now;
}

static void do_writes(void)
{
	struct region *r = some_region(0);
	char *at = r ? r->at : heap;
	unsigned long pages = r ? r->pages : (unsigned long)(heap_end - heap) / PAGE;
	if (!draw(5)) {
		at = heap;
		pages = (heap_end - heap) / PAGE;
	}
	if (!pages)
		return;
	for (unsigned n = 1 + draw(24); n--;) {
		volatile char *page = at + draw(pages) * PAGE;
		switch (draw(8)) {
		case 0: /* what is there */
			*page = *page;
			break;
		case 1: /* read only */
			(void)*page;
			break;
		case 2: /* zeros */
			memset((char *)page, 0, PAGE);
			break;
		case 3: /* few contents, which many pages have */
			memset((char *)page, 1 + draw(4), PAGE);
			break;
		default:
			*(volatile uint64_t *)(page + 8 * draw(512)) = draw(1UL << 40);
		}
	}
}

static void do_merge_any(void)
{
	merges = !merges;
	if (prctl(MEMORY_MERGE, merges, 0, 0, 0))
		merges = !merges;
	else
		said("prctl", 1, (unsigned long)merges);
}

static int in_thread(void *unused)
{
	(void)unused;
	do_map();
	syscall(SYS_exit, 0);
	return 0;
}

static void do_thread(void)
{
	static char stack[64 * 1024] __attribute__((aligned(64)));
	static volatile pid_t tid;
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
		    CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
	tid = 1;
	if (clone(in_thread, stack + sizeof stack, flags, NULL, &tid, NULL, &tid) < 0)
		return;
	while (tid)
		sched_yield();
}

/* A child that shares our memory until it is another program, which ends at once. */
static void do_vfork(void)
{
	static char *words[] = { "script", "nothing", NULL };
	pid_t pid = vfork();
	if (!pid) {
		execv(program, words);
		_exit(1);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static void do_operation(void);

static void serve(void)
{
	char what;
	unsigned long checkpoint;
	while (read(command_fd, &what, 1) == 1) {
		if (what == 'o')
			do_operation();
		else if (what == 'r' && read(command_fd, &checkpoint, sizeof checkpoint) == sizeof checkpoint)
			report(checkpoint);
		else if (what == 'x')
			_exit(0);
		if (write(answer_fd, "", 1) != 1)
			break;
	}
	_exit(0);
}

static void do_fork(void)
{
	struct child *c = NULL;
	int command[2], answer[2];
	char ready;
	for (int i = 0; i < CHILDREN; i++)
		if (!children[i].pid)
			c = &children[i];
	if (!c || pipe(command) || pipe(answer))
		return;
	uint64_t seed = draw(1UL << 60) | 1;
	pid_t pid = fork();
	if (!pid) {
		said_of(getppid(), "fork", 1, (unsigned long)getpid());
		is_first = 0;
		state = seed;
		command_fd = command[0];
		answer_fd = answer[1];
		close(command[1]);
		close(answer[0]);
		memset(children, 0, sizeof children);
		/* Regions that DONTFORK kept from us are not here. */
		for (int i = 0; i < REGIONS; i++) {
			unsigned char seen;
			for (unsigned long k = 0; regions[i].at && k < regions[i].pages; k++)
				if (mincore(regions[i].at + k * PAGE, PAGE, &seen) && errno == ENOMEM)
					regions[i].at = NULL;
		}
		write(answer_fd, "", 1);
		serve();
	}
	close(command[0]);
	close(answer[1]);
	if (pid < 0)
		die("fork failed");
	*c = (struct child){ pid, command[1], answer[0] };
	if (read(c->answer, &ready, 1) != 1)
		die("a child does not begin");
}

static void end_child(struct child *c)
{
	write(c->command, "x", 1);
	waitpid(c->pid, NULL, 0);
	close(c->command);
	close(c->answer);
	said("exited", 1, (unsigned long)c->pid);
	c->pid = 0;
}

/* A child that comes, does something and is gone, as a short function would. */
static void do_short_life(void)
{
	pid_t pid = fork();
	if (!pid) {
		said_of(getppid(), "fork", 1, (unsigned long)getpid());
		do_map();
		do_writes();
		_exit(0);
	}
	if (pid > 0) {
		waitpid(pid, NULL, 0);
		said("exited", 1, (unsigned long)pid);
	}
}

static void do_operation(void)
{
	switch (draw(26)) {
	case 0: case 1: case 2: case 3:
		return do_map();
	case 4: case 5:
		return do_unmap();
	case 6: case 7:
		return do_remap();
	case 8: case 9: case 10: case 11: case 12:
		return do_advise();
	case 13:
		return do_protect();
	case 14: case 15:
		return do_brk();
	case 16:
		if (!draw(3))
			return do_merge_any();
		return do_writes();
	case 17:
		return do_thread();
	case 18:
		if (is_first && !draw(3))
			return do_vfork();
		if (is_first && !draw(3))
			return do_short_life();
		return do_writes();
	case 19:
		if (is_first)
			return do_fork();
		return do_writes();
	case 20:
		if (is_first && !draw(3)) {
			struct child *c = &children[draw(CHILDREN)];
			if (c->pid)
				end_child(c);
			return;
		}
		return do_writes();
	default:
		return do_writes();
	}
}

static void tell(struct child *c, const void *what, size_t n)
{
	char done;
	if (write(c->command, what, n) != (ssize_t)n || read(c->answer, &done, 1) != 1)
		die("a child does not answer");
}

static void checkpoint(unsigned long number_of, int asked, int answered)
{
	char line[64], *to = stpcpy(line, "checkpoint ");
	report(number_of);
	for (int i = 0; i < CHILDREN; i++)
		if (children[i].pid) {
			struct { char what; } r = { 'r' };
			write(children[i].command, &r, 1);
			tell(&children[i], &number_of, sizeof number_of);
		}
	*(to = number(to, number_of)) = '\n';
	write(asked, line, to + 1 - line);
	do
		if (read(answered, line, 1) != 1)
			die("nobody answers");
	while (*line != '\n');
}

int main(int argc, char **argv)
{
	static char path[512];
	if (argc == 2)
		return 0; /* the program that do_vfork starts */
	if (argc != 5)
		die("script SEED OPERATIONS EVERY FOLDER");
	state = strtoull(argv[1], NULL, 10) * 0x9E3779B97F4A7C15ULL | 1;
	long operations = atol(argv[2]), every = atol(argv[3]);
	folder = argv[4];
	program = argv[0];
	strcpy(stpcpy(path, folder), "/log");
	log_file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	strcpy(stpcpy(path, folder), "/asked");
	int asked = open(path, O_WRONLY);
	strcpy(stpcpy(path, folder), "/answered");
	int answered = open(path, O_RDONLY);
	if (log_file < 0 || asked < 0 || answered < 0)
		die("the folder lacks something");
	heap = (char *)((syscall(SYS_brk, 0) + PAGE - 1) & ~(PAGE - 1));
	heap_end = heap;
	for (long i = 1; i <= operations; i++) {
		struct child *c = &children[draw(CHILDREN)];
		if (draw(2) && c->pid)
			tell(c, "o", 1);
		else
			do_operation();
		if (i % every == 0)
			checkpoint(i / every, asked, answered);
	}
	for (int i = 0; i < CHILDREN; i++)
		if (children[i].pid)
			end_child(&children[i]);
	return 0;
}
