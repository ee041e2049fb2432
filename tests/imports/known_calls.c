/* Calls whose effects the tests know: at fixed addresses, but for the heap. Prints the heap's old end and prctl's result. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define AT(page) ((char *)0x510000000000 + (page) * PAGE)

static void map(long page, long n, int flags, int prot)
{
	if (mmap(AT(page), n * PAGE, prot, flags | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		exit(1);
}

static void *executes(void *unused)
{
	execl("/proc/thread-self/exe", "again", "again", NULL); /* the first thread's is gone where it has ended */
	return unused;
}

static void *in_a_thread(void *unused)
{
	map(0x300, 3, MAP_PRIVATE, PROT_READ | PROT_WRITE);
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int waits = argc == 2 && !strcmp(argv[1], "waits");
	int loops = argc == 3 ? atoi(argv[2]) : 0;

	for (int i = 0; i < loops; i++)
		map(0x500, 1, MAP_PRIVATE, PROT_READ);
	if (waits || (argc == 2 && !strcmp(argv[1], "ends"))) {
		map(0, 1, MAP_PRIVATE, PROT_READ);
		if (pthread_create(&thread, NULL, executes, NULL))
			return 4;
		if (waits)
			pause();
		pthread_exit(NULL);
	}
	if (argc > 1) {
		map(0x400, 2, MAP_PRIVATE, PROT_READ | PROT_WRITE);
		return 0;
	}
	map(0, 64, MAP_PRIVATE, PROT_READ | PROT_WRITE);
	if (madvise(AT(0), 16 * PAGE, MADV_MERGEABLE))
		return 2;
	madvise(AT(0x1000), PAGE, MADV_DONTNEED); /* fails */
	printf("%d ", prctl(67, 1, 0, 0, 0));
	map(0x100, 8, MAP_PRIVATE | MAP_POPULATE, PROT_READ | PROT_WRITE);
	map(0x180, 8, MAP_SHARED, PROT_READ | PROT_WRITE);
	if (mremap(AT(0x100), 8 * PAGE, 12 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, AT(0x200)) == MAP_FAILED)
		return 3;
	printf("%ld\n", (long)sbrk(4 * PAGE));
	fflush(stdout);
	if (fork() == 0) {
		madvise(AT(20), PAGE, MADV_DONTNEED);
		execl("/proc/self/exe", "again", "again", NULL);
	}
	wait(NULL);
	if (pthread_create(&thread, NULL, in_a_thread, NULL))
		return 4;
	pthread_join(thread, NULL);
	munmap(AT(0x200), 12 * PAGE);
	return 0;
}
