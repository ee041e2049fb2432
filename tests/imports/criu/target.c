/* What the images are of: two processes without a library, whose memory is this program's and the stack alone. */
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/signal.h>

#define PAGE 4096
#define AT(page) ((volatile char *)0x510000000000 + (page) * PAGE)
#define MADVISE_MERGEABLE 12
#define MADVISE_DONTNEED 4

static long call(long number, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = 0;
	long result;

	__asm__ volatile("syscall" : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static void map(long page, long n, long flags)
{
	call(__NR_mmap, (long)AT(page), n * PAGE, 3, flags | MAP_ANONYMOUS | MAP_FIXED, -1);
}

static void set(long page, char value)
{
	for (int i = 0; i < PAGE; i++)
		AT(page)[i] = value;
}

static void wait_for(const char *name)
{
	long tenth[2] = { 0, 100000000 };

	while (call(__NR_access, (long)name, 0, 0, 0, 0))
		call(__NR_nanosleep, (long)tenth, 0, 0, 0, 0);
}

static void make(const char *name)
{
	call(__NR_close, call(__NR_open, (long)name, O_CREAT | O_WRONLY, 0644, 0, 0), 0, 0, 0, 0);
}

__attribute__((force_align_arg_pointer)) void _start(void)
{
	int is_child;

	map(0, 16, MAP_PRIVATE);
	map(0x100, 4, MAP_SHARED);
	call(__NR_madvise, (long)AT(0), 8 * PAGE, MADVISE_MERGEABLE, 0, 0);
	set(0, 1);
	set(1, 2);
	set(3, 1);
	(void)AT(5)[0]; /* the zero page */
	set(6, 0);
	set(0x100, 5);
	is_child = call(__NR_fork, 0, 0, 0, 0, 0) == 0;
	if (is_child) {
		call(__NR_prctl, PR_SET_NAME, (long)"the second", 0, 0, 0);
		set(2, 9);
	}
	make(is_child ? "/ready2" : "/ready1");
	wait_for("/go");
	set(is_child ? 12 : 1, 7);
	if (!is_child)
		call(__NR_madvise, (long)AT(3), PAGE, MADVISE_DONTNEED, 0, 0);
	make(is_child ? "/changed2" : "/changed1");
	for (;;)
		call(__NR_pause, 0, 0, 0, 0, 0);
}
