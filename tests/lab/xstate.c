// Lets the guest's kernel run on processors with AMX, whose registers take more room than it has: loaded into it by `uml`
// (LD_PRELOAD) where that is so.
//
// ptrace(PTRACE_GETREGSET, NT_X86_XSTATE) cuts what does not fit, but PTRACE_SETREGSET refuses a buffer that is not as long
// as the processor's whole state (xstateregs_set, arch/x86/kernel/fpu/regset.c). Linux 6.1 for user mode has 2,696 bytes,
// up to the protection keys, and a processor with AMX 11,008: every guest would end with its first process. What it gives
// is filled up here; of the parts that it does not know the header says that they are as at the start.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif

enum {
	HEADER = 512,        // XSTATE_BV, the components that are not as at the start (Intel SDM 1, 13.4.2)
	ROOM = 64 << 10,
};
static const uint64_t KNOWN = 0x3ff;     // x87 to PKRU (9), all that lies within 2,696 bytes

typedef long (*call)(int, long, void *, void *);

static long set(call real, long pid, const struct iovec *part)
{
	static char whole[ROOM];     // one thread of the guest's kernel traces
	static size_t size;
	struct iovec all = {whole, ROOM};
	if (!size) {
		if (real(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &all) < 0)
			return -1;
		size = all.iov_len;
	}
	memset(whole, 0, size);
	memcpy(whole, part->iov_base, part->iov_len);
	uint64_t components;
	memcpy(&components, whole + HEADER, sizeof components);
	components &= KNOWN;
	memcpy(whole + HEADER, &components, sizeof components);
	all.iov_len = size;
	return real(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, &all);
}

long ptrace(enum __ptrace_request request, ...)
{
	static call real;
	if (!real)
		real = (call)dlsym(RTLD_NEXT, "ptrace");
	va_list rest;
	va_start(rest, request);
	long pid = va_arg(rest, int);
	void *address = va_arg(rest, void *), *data = va_arg(rest, void *);
	va_end(rest);
	if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE && ((struct iovec *)data)->iov_len < ROOM)
		return set(real, pid, data);
	return real(request, pid, address, data);
}
