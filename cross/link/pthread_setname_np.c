/* Names a thread without printf.
 *
 * musl's pthread_setname_np builds a path with snprintf for threads other than
 * the calling one, and with it 13 KB of formatting, wide characters and floating
 * point come into the binary. A thread of ours names itself only.
 */
#include <sys/prctl.h>
#include <pthread.h>
#include <errno.h>
#include <string.h>

/* The kernel's, with the byte that ends it: prctl(2), PR_SET_NAME. */
#define NAME_BYTES 16

int pthread_setname_np(pthread_t thread, const char *name)
{
	if (strnlen(name, NAME_BYTES) == NAME_BYTES)
		return ERANGE;
	if (thread != pthread_self())
		return ENOTSUP;
	return prctl(PR_SET_NAME, (unsigned long)name, 0UL, 0UL, 0UL) ? errno : 0;
}
