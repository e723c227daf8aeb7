// Loaded into the tests under the thread sanitizer. Swift's runtime is not built with the sanitizer, and where a
// continuation is resumed before its task has come to wait for it, the task goes on without an order that the sanitizer
// sees: each value that was handed over looks like a race. Here the one that resumes releases, the one that waits acquires.
// (What the runtime does: swift_continuation_await and the resume functions of stdlib/public/Concurrency/Task.cpp.)
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define SWIFT __attribute__((swiftcall))
#define SWIFT_ASYNC __attribute__((swiftasynccall))

static SWIFT void *(*current_task)(void);
static SWIFT_ASYNC void (*await)(void *);
static SWIFT void (*resume)(void *), (*throwing_resume)(void *), (*throwing_resume_with_error)(void *, void *);

// Processes without the sanitizer (the package's build) load this too.
static void nothing(void *task) {}
static void (*acquire)(void *) = nothing, (*release)(void *) = nothing;

__attribute__((constructor)) static void find(void) {
    current_task = dlsym(RTLD_NEXT, "swift_task_getCurrent");
    await = dlsym(RTLD_NEXT, "swift_continuation_await");
    resume = dlsym(RTLD_NEXT, "swift_continuation_resume");
    throwing_resume = dlsym(RTLD_NEXT, "swift_continuation_throwingResume");
    throwing_resume_with_error = dlsym(RTLD_NEXT, "swift_continuation_throwingResumeWithError");
    if (!dlsym(RTLD_DEFAULT, "__tsan_acquire")) return;
    acquire = dlsym(RTLD_DEFAULT, "__tsan_acquire");
    release = dlsym(RTLD_DEFAULT, "__tsan_release");
    if (current_task && await && resume && throwing_resume && throwing_resume_with_error) return;
    fputs("continuations.c: the runtime's functions have other names now\n", stderr);
    abort();
}

// A task waits for one continuation at a time, and is what the functions that resume are called with.
SWIFT_ASYNC void swift_continuation_await(void *context) {
    acquire(current_task());
    __attribute__((musttail)) return await(context);
}

SWIFT void swift_continuation_resume(void *task) {
    release(task);
    resume(task);
}

SWIFT void swift_continuation_throwingResume(void *task) {
    release(task);
    throwing_resume(task);
}

SWIFT void swift_continuation_throwingResumeWithError(void *task, void *error) {
    release(task);
    throwing_resume_with_error(task, error);
}
