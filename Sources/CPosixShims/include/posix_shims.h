// The C that Swift cannot say: hardware CRC32C, variadic or Linux-only system calls, thread affinity.
#pragma once
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// CRC32C (Castagnoli, RFC 3720 B.4) of `length` bytes, continuing from `crc` (start with 0).
uint32_t vencejo_crc32c(uint32_t crc, const void *bytes, size_t length);

// CRC16-XMODEM, the checksum of Redis Cluster's key slots (start with 0).
uint16_t vencejo_crc16(const void *bytes, size_t length);

// open(2); the Swift importer does not take the variadic form.
int vencejo_open(const char *path, int flags, int mode);

// Reserves and zero-fills `length` bytes (fallocate(2)); falls back to posix_fallocate(3). 0 or an errno value.
int vencejo_preallocate(int descriptor, off_t offset, off_t length);

// fdatasync(2): 0 or an errno value.
int vencejo_fdatasync(int descriptor);

// Begins to write a file's dirty pages and does not wait (sync_file_range(2), SYNC_FILE_RANGE_WRITE). A hint.
void vencejo_start_writing(int descriptor);

// Bytes that an unprivileged process may still write on the file system of `path`; UINT64_MAX when it cannot be told.
uint64_t vencejo_free_bytes(const char *path);

// Pins the calling thread to one processor. 0 or an errno value.
int vencejo_pin_to_cpu(int cpu);

// Raises RLIMIT_NOFILE's soft limit to the hard limit; writes both limits after the change. 0 or an errno value.
int vencejo_raise_descriptor_limit(uint64_t *soft, uint64_t *hard);

// Returns freed heap pages to the kernel (malloc_trim(3)).
void vencejo_trim_heap(void);

// Bounds the number of malloc arenas (mallopt(3), M_ARENA_MAX).
void vencejo_bound_arenas(int count);

// The started process gets no descriptor from `lowest` on (posix_spawn_file_actions_addclosefrom_np(3)). 0 or an errno
// value.
int vencejo_spawn_close_from(posix_spawn_file_actions_t *actions, int lowest);
