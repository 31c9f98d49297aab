/* A stand-in for NVIDIA's kernel driver, beneath NVIDIA's own libraries: for LD_PRELOAD.
 *
 * Every node is opened for real first, so that whatever confines the process has its say. Only where the kernel answers
 * ENXIO, "no driver has this number", a descriptor of /dev/null is given, and what is asked of it is answered here: one
 * Hopper GPU, as far as NVML, nvidia-smi and cuInit look at it. Contexts cannot be made: nothing computes.
 *
 * What stands in a structure, and its numbers, are facts of NVIDIA's open kernel modules (release 550); each names its
 * header. What is not answered here stays as the library passed it in, all zeros: that is NV_OK, and "none of it".
 *
 * Compile it with -DVERSION="..." of the libraries: a driver fits no others.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME "NVIDIA stand-in, no hardware"
#define UUID "GPU-12345678-9abc-def0-1234-56789abcdef0"
#define UUID_BYTES "\x12\x34\x56\x78\x9a\xbc\xde\xf0\x12\x34\x56\x78\x9a\xbc\xde\xf0"

enum { GPU_ID = 0x100, PCI_BUS = 1, MEMORY_IN_KIB = 80 << 20, TPCS = 66, SMS_IN_A_TPC = 2, TPCS_IN_A_GPC = 9 };

/* Which descriptors are ours. */
enum kind { NOT_OURS, RESOURCE_MANAGER, UNIFIED_MEMORY };
enum { DESCRIPTORS = 4096 };
static unsigned char kinds[DESCRIPTORS];

static enum kind kind_of_path(const char *path)
{
    if (strncmp(path, "/dev/nvidia", strlen("/dev/nvidia")))
        return NOT_OURS;
    return strncmp(path, "/dev/nvidia-uvm", strlen("/dev/nvidia-uvm")) ? RESOURCE_MANAGER : UNIFIED_MEMORY;
}

static enum kind kind_of(int fd)
{
    return fd >= 0 && fd < DESCRIPTORS ? kinds[fd] : NOT_OURS;
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    int fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 || errno != ENXIO || !kind_of_path(path))
        return fd;
    fd = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | (flags & O_CLOEXEC));
    if (fd >= DESCRIPTORS)
        abort();
    if (fd >= 0)
        kinds[fd] = kind_of_path(path);
    return fd;
}

int close(int fd)
{
    if (kind_of(fd))
        kinds[fd] = NOT_OURS;
    return syscall(SYS_close, fd);
}

/* The driver's registers and queues become ordinary memory. */
void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (flags & MAP_ANONYMOUS || !kind_of(fd))
        return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
    flags = (flags & MAP_FIXED) | MAP_PRIVATE | MAP_ANONYMOUS;
    return (void *)syscall(SYS_mmap, address, length, PROT_READ | PROT_WRITE, flags, -1, 0);
}

int open64(const char *, int, ...) __attribute__((alias("open")));
void *mmap64(void *, size_t, int, int, int, off_t) __attribute__((alias("mmap")));

/* nv-ioctl.h */
struct card {
    uint8_t valid;
    uint32_t domain;
    uint8_t bus, slot, function;
    uint16_t vendor, device;
    uint32_t gpu_id;
    uint16_t interrupt;
    uint64_t registers, registers_size, memory, memory_size;
    uint32_t minor;
    uint8_t name[10];
};

/* nvos.h: NVOS64_PARAMETERS, whose beginning is NVOS21_PARAMETERS, and NVOS54_PARAMETERS */
struct allocation {
    uint32_t client, parent, object, class;
};
struct control {
    uint32_t client, object, command, flags;
    uint64_t parameters;
    uint32_t size, status;
};

/* The folder ctrl/: ctrl0000client.h, ctrl0000gpu.h, ctrl0000system.h, ctrl0080gpu.h, ctrl2080fb.h, ctrl2080gpu.h,
 * ctrl2080gr.h and ctrl2080mc.h */
enum command {
    SYSTEM_GET_BUILD_VERSION = 0x101,
    GPU_GET_PROBED_IDS = 0x214,
    GPU_GET_PCI_INFO = 0x21b,
    CLIENT_GET_ADDR_SPACE_TYPE = 0xd01,
    GPU_GET_NUM_SUBDEVICES = 0x800280,
    GPU_GET_CLASSLIST_V2 = 0x800292,
    GPU_GET_NAME_STRING = 0x20800110,
    GPU_GET_GID_INFO = 0x2080014a,
    GR_GET_GLOBAL_SM_ORDER = 0x2080121b,
    FB_GET_INFO_V2 = 0x20801303,
    MC_GET_ARCH_INFO = 0x20801701,
};
union parameters {
    struct { uint32_t size; uint64_t driver, version, title; } build;
    struct { uint32_t present[32], excluded[32]; } probed;
    struct { uint32_t gpu_id, domain; uint16_t bus, slot; } pci;
    struct { uint32_t object, flags, type; } address_space;
    struct { uint32_t number; } subdevices;
    struct { uint32_t number, list[]; } classes;
    struct { uint32_t flags; char text[64]; } name;
    struct { uint32_t index, flags, length; char data[256]; } id;
    struct {
        struct { uint16_t gpc, tpc_of_gpc, sm_of_tpc, tpc, virtual_gpc, migratable; } sm[512];
        uint16_t sms, tpcs;
    } order;
    struct { uint32_t number; struct { uint32_t index, kib; } list[]; } memory;
    struct { uint32_t architecture, implementation, revision; } chip;
};
enum { REGISTERS = 3, ID_IS_BINARY = 2, HOPPER = 0x180 };
enum { HOPPER_CHANNEL_GPFIFO_A = 0xc86f, HOPPER_COMPUTE_A = 0xcbc0 }; /* class/clc86f.h, class/clcbc0.h */

static void tell_build(union parameters *told)
{
    snprintf((char *)told->build.driver, told->build.size, "%s", VERSION);
    snprintf((char *)told->build.version, told->build.size, "%s", VERSION);
}

static void tell_id(union parameters *told)
{
    int binary = (told->id.flags & 3) == ID_IS_BINARY;
    told->id.length = binary ? sizeof UUID_BYTES - 1 : sizeof UUID;
    memcpy(told->id.data, binary ? UUID_BYTES : UUID, told->id.length);
}

static void tell_order(union parameters *told)
{
    told->order.tpcs = TPCS;
    told->order.sms = TPCS * SMS_IN_A_TPC;
    for (int sm = 0; sm < told->order.sms; sm++) {
        int tpc = sm / SMS_IN_A_TPC, gpc = tpc / TPCS_IN_A_GPC;
        told->order.sm[sm].gpc = told->order.sm[sm].virtual_gpc = gpc;
        told->order.sm[sm].tpc_of_gpc = told->order.sm[sm].migratable = tpc % TPCS_IN_A_GPC;
        told->order.sm[sm].sm_of_tpc = sm % SMS_IN_A_TPC;
        told->order.sm[sm].tpc = tpc;
    }
}

static void tell(enum command command, union parameters *told)
{
    switch (command) {
    case SYSTEM_GET_BUILD_VERSION:
        tell_build(told);
        break;
    case GPU_GET_PROBED_IDS:
        memset(&told->probed, 0xff, sizeof told->probed); /* NV0000_CTRL_GPU_INVALID_ID */
        told->probed.present[0] = GPU_ID;
        break;
    case GPU_GET_PCI_INFO:
        told->pci.bus = PCI_BUS;
        break;
    case CLIENT_GET_ADDR_SPACE_TYPE:
        told->address_space.type = REGISTERS;
        break;
    case GPU_GET_NUM_SUBDEVICES:
        told->subdevices.number = 1;
        break;
    case GPU_GET_CLASSLIST_V2:
        told->classes.number = 2;
        told->classes.list[0] = HOPPER_CHANNEL_GPFIFO_A;
        told->classes.list[1] = HOPPER_COMPUTE_A;
        break;
    case GPU_GET_NAME_STRING:
        snprintf(told->name.text, sizeof told->name.text, "%s", NAME);
        break;
    case GPU_GET_GID_INFO:
        tell_id(told);
        break;
    case GR_GET_GLOBAL_SM_ORDER:
        tell_order(told);
        break;
    case FB_GET_INFO_V2: /* whichever size is asked for */
        for (uint32_t i = 0; i < told->memory.number; i++)
            told->memory.list[i].kib = MEMORY_IN_KIB;
        break;
    case MC_GET_ARCH_INFO:
        told->chip.architecture = HOPPER;
        break;
    }
}

/* nv-ioctl-numbers.h and nv_escape.h */
enum { CARD_INFO = 200, RM_CONTROL = 0x2a, RM_ALLOC = 0x2b };

static void answer(unsigned char request, void *argument)
{
    static uint32_t handles = 0xc1d00000;
    struct card *card = argument;
    struct allocation *allocation = argument;
    struct control *control = argument;
    switch (request) {
    case CARD_INFO: /* an array, of which the first is ours */
        *card = (struct card){.valid = 1, .bus = PCI_BUS, .gpu_id = GPU_ID};
        break;
    case RM_ALLOC: /* every object can be had */
        if (!allocation->object)
            allocation->object = ++handles;
        break;
    case RM_CONTROL:
        tell(control->command, (union parameters *)control->parameters);
        break;
    }
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (!kind_of(fd))
        return syscall(SYS_ioctl, fd, request, argument);
    if (kind_of(fd) == RESOURCE_MANAGER)
        answer(request, argument); /* the request's number is its last byte */
    return 0;
}
