/* A stand-in for NVIDIA's libcuda.so.1, as far as openshell_kernel.kernel.cuda calls it.
 *
 * Like the driver it opens /dev/nvidiactl and /dev/nvidia-uvm, names a thread in /proc, and shows the devices whose
 * nodes it can open of those that "cuda.conf" beside it names, one a line: `device /dev/nvidia0 name of the GPU`. Other
 * lines: `fail FUNCTION CODE`, `hang FUNCTION`, `crash FUNCTION`, and `wrong`, which spoils a sum.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SUCCESS = 0, INVALID_VALUE = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100, OPERATING_SYSTEM = 304, UNKNOWN = 999,
    MOST = 16, LINE = 512
};

static char names[MOST][128];
static int count, initialised, spoilt;

static FILE *configuration(void)
{
    Dl_info info;
    char path[4096];
    if (!dladdr((void *)configuration, &info))
        abort();
    const char *slash = strrchr(info.dli_fname, '/');
    snprintf(path, sizeof path, "%.*s/cuda.conf", slash ? (int)(slash - info.dli_fname) : 0, info.dli_fname);
    FILE *file = fopen(path, "r");
    if (!file)
        abort();
    return file;
}

static int called(const char *function)
{
    char line[LINE], verb[16], name[64];
    int code, result = SUCCESS;
    FILE *file = configuration();
    while (fgets(line, sizeof line, file)) {
        int fields = sscanf(line, "%15s %63s %d", verb, name, &code);
        if (fields < 2 || strcmp(name, function))
            continue;
        if (!strcmp(verb, "fail") && fields == 3)
            result = code;
        if (!strcmp(verb, "hang"))
            for (;;)
                pause();
        if (!strcmp(verb, "crash")) {
            signal(SIGSEGV, SIG_DFL);
            raise(SIGSEGV);
        }
    }
    fclose(file);
    return result || initialised || !strcmp(function, "cuInit") ? result : NOT_INITIALIZED;
}

static int opens(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int name_thread(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", gettid());
    int fd = open(path, O_RDWR | O_CLOEXEC), written = fd >= 0 && write(fd, "cuda-EvtHandlr", 14) == 14;
    if (fd >= 0)
        close(fd);
    return written;
}

int cuInit(unsigned flags)
{
    (void)flags;
    char line[LINE], node[64];
    int result = called(__func__);
    if (result)
        return result;
    if (!opens("/dev/nvidiactl"))
        return NO_DEVICE;
    if (!opens("/dev/nvidia-uvm"))
        return UNKNOWN;
    if (!name_thread())
        return OPERATING_SYSTEM;
    FILE *file = configuration();
    count = spoilt = 0;
    while (fgets(line, sizeof line, file)) {
        int name = 0;
        if (sscanf(line, "device %63s %n", node, &name) == 1 && name && count < MOST && opens(node))
            snprintf(names[count++], sizeof names[0], "%.*s", (int)strcspn(line + name, "\n"), line + name);
        if (!strncmp(line, "wrong", 5))
            spoilt = 1;
    }
    fclose(file);
    initialised = 1;
    return count ? SUCCESS : NO_DEVICE;
}

int cuGetErrorName(int code, const char **name)
{
    *name = code == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE" : code == OPERATING_SYSTEM ? "CUDA_ERROR_OPERATING_SYSTEM" : NULL;
    return *name ? SUCCESS : INVALID_VALUE;
}

int cuDriverGetVersion(int *version)
{
    *version = 13000;
    return SUCCESS;
}

int cuDeviceGetCount(int *number)
{
    *number = count;
    return called(__func__);
}

int cuDeviceGet(int *device, int index)
{
    *device = index;
    int result = called(__func__);
    return result ? result : index < count ? SUCCESS : INVALID_VALUE;
}

int cuDeviceGetName(char *name, int length, int device)
{
    snprintf(name, (size_t)length, "%s", names[device]);
    return called(__func__);
}

int cuDevicePrimaryCtxRetain(void **context, int device)
{
    *context = names[device];
    return called(__func__);
}

int cuDevicePrimaryCtxRelease_v2(int device)
{
    (void)device;
    return called(__func__);
}

int cuCtxSetCurrent(void *context)
{
    (void)context;
    return called(__func__);
}

int cuModuleLoadData(void **module, const char *image)
{
    *module = (void *)image;
    int result = called(__func__);
    return result ? result : strstr(image, ".entry vector_add") ? SUCCESS : INVALID_VALUE;
}

int cuModuleGetFunction(void **function, void *module, const char *name)
{
    *function = module;
    int result = called(__func__);
    return result ? result : strcmp(name, "vector_add") ? INVALID_VALUE : SUCCESS;
}

int cuMemAlloc_v2(uint64_t *pointer, size_t size)
{
    *pointer = (uint64_t)(uintptr_t)malloc(size);
    return called(__func__);
}

int cuMemFree_v2(uint64_t pointer)
{
    free((void *)(uintptr_t)pointer);
    return called(__func__);
}

int cuMemcpyHtoD_v2(uint64_t target, const void *source, size_t size)
{
    memcpy((void *)(uintptr_t)target, source, size);
    return called(__func__);
}

int cuMemcpyDtoH_v2(void *target, uint64_t source, size_t size)
{
    memcpy(target, (void *)(uintptr_t)source, size);
    return called(__func__);
}

int cuLaunchKernel(void *function, unsigned blocks, unsigned y, unsigned z, unsigned threads, unsigned b, unsigned c,
                   unsigned shared, void *stream, void **arguments, void **extra)
{
    (void)function, (void)y, (void)z, (void)b, (void)c, (void)shared, (void)stream, (void)extra;
    const uint32_t *first = (uint32_t *)(uintptr_t)*(uint64_t *)arguments[0];
    const uint32_t *second = (uint32_t *)(uintptr_t)*(uint64_t *)arguments[1];
    uint32_t *sums = (uint32_t *)(uintptr_t)*(uint64_t *)arguments[2], length = *(uint32_t *)arguments[3];
    for (uint32_t i = 0; i < length && i < blocks * threads; i++)
        sums[i] = first[i] + second[i];
    sums[length / 2] += (uint32_t)spoilt;
    return called(__func__);
}

int cuCtxSynchronize(void)
{
    return called(__func__);
}

int cuModuleUnload(void *module)
{
    (void)module;
    return called(__func__);
}
