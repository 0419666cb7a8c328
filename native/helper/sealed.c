// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static int copy_self(int exe, int memory)
{
	struct stat st;
	off_t at = 0;
	ssize_t put;

	if (fstat(exe, &st) < 0)
		return -errno;
	while (at < st.st_size) {
		put = sendfile(memory, exe, &at, (size_t)(st.st_size - at));
		if (put < 0)
			return -errno;
		if (put == 0)
			return -EIO;
	}
	if (fcntl(memory, F_ADD_SEALS, ALL_SEALS) < 0)
		return -errno;
	return 0;
}

int sealed_exec(char **argv)
{
	char *none[] = { NULL };
	int exe, memory, seals, ret;

	exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (exe < 0)
		return -errno;
	/* Only a memfd has seals: an ordinary file answers EINVAL. */
	seals = fcntl(exe, F_GET_SEALS);
	if (seals >= 0 && (seals & ALL_SEALS) == ALL_SEALS) {
		close(exe);
		return 0;
	}

	memory = memfd_create("slipway-helper",
			      MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memory < 0) {
		ret = -errno;
		goto out;
	}
	ret = copy_self(exe, memory);
	if (ret == 0) {
		fexecve(memory, argv, none);
		ret = -errno;
	}
	close(memory);
out:
	close(exe);
	return ret;
}
