/* Run in a guest by test_vm.py: prints its release and nodes, and merges equal pages that lie on all nodes. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define KSM "/sys/kernel/mm/ksm/"
#define PAGE 4096
#define PAGES 8 /* per node */
#define MPOL_BIND 2

static long number(const char *path)
{
	long value = -1;
	FILE *file = fopen(path, "r");

	if (file) {
		if (fscanf(file, "%ld", &value) != 1)
			value = -1;
		fclose(file);
	}
	return value;
}

static void store(const char *path, long value)
{
	FILE *file = fopen(path, "w");

	if (!file || fprintf(file, "%ld", value) < 0 || fclose(file) != 0) {
		perror(path);
		exit(1);
	}
}

static void scan(int times)
{
	long until = number(KSM "full_scans") + times;

	while (number(KSM "full_scans") < until)
		usleep(1000);
}

int main(int count, char **arguments)
{
	int nodes = 0, at_home = 0;
	long across = count > 1 ? atol(arguments[1]) : 1;
	char path[64];
	struct utsname about;
	char *pages;

	uname(&about);
	while (snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", nodes), access(path, F_OK) == 0)
		nodes++;
	pages = mmap(NULL, nodes * PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED || madvise(pages, nodes * PAGES * PAGE, MADV_NOHUGEPAGE) != 0 ||
	    madvise(pages, nodes * PAGES * PAGE, MADV_MERGEABLE) != 0) {
		perror("madvise");
		return 1;
	}
	for (int node = 0; node < nodes; node++) {
		char *own = pages + node * PAGES * PAGE;
		unsigned long mask = 1ul << node;

		if (syscall(SYS_mbind, own, PAGES * PAGE, MPOL_BIND, &mask, 64, 0) != 0)
			perror("mbind");
		memset(own, 'x', PAGES * PAGE);
		for (int page = 0; page < PAGES; page++) {
			void *address = own + page * PAGE;
			int status = -1;

			if (syscall(SYS_move_pages, 0, 1ul, &address, NULL, &status, 0) != 0)
				perror("move_pages");
			at_home += status == node;
		}
	}
	store(KSM "merge_across_nodes", across);
	store(KSM "pages_to_scan", 1000);
	store(KSM "sleep_millisecs", 1);
	store(KSM "run", 1);
	scan(4);
	printf("release %s\nnodes %d\nat_home %d\nshared %ld\nsharing %ld\n", about.release, nodes, at_home,
	       number(KSM "pages_shared"), number(KSM "pages_sharing"));
	store(KSM "run", 2);
	store(KSM "run", 0);
	store(KSM "merge_across_nodes", 1);
	return 3;
}
