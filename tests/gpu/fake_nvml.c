/* A stand-in for NVIDIA's libnvidia-ml.so.1.
 *
 * It reads "gpus.conf" beside itself, one directive a line:
 *   driver 580.65.06            what the driver's version is
 *   cuda 13000                  what CUDA's version is
 *   gpu minor=3 uuid=GPU-x memory=1024 pci=00000000:65:00.0 name=the rest of the line
 *   count 3                     what is counted, however many GPUs follow
 *   fail FUNCTION CODE [INDEX]  a call returns an error, for one GPU or for all
 *   hang FUNCTION               a call never returns
 *   crash FUNCTION              a call is a segmentation fault
 *   quit FUNCTION               a call ends the process
 *   print FUNCTION              a call writes to standard output
 * and appends the name of every function that is called to "calls.log" beside itself.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, MOST_GPUS = 64, LINE = 512 };

struct gpu {
    unsigned index, minor;
    unsigned long long memory;
    char uuid[96], pci[32], name[96];
};
struct memory { unsigned long long total, free, used; };
struct pci {
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

static struct gpu gpus[MOST_GPUS];
static unsigned present, counted;
static int cuda = 13000;
static char driver[80] = "580.65.06";

static FILE *beside(const char *name, const char *mode)
{
    Dl_info info;
    char path[4096];
    if (!dladdr((void *)beside, &info))
        abort();
    const char *slash = strrchr(info.dli_fname, '/');
    snprintf(path, sizeof path, "%.*s/%s", slash ? (int)(slash - info.dli_fname) : 0, info.dli_fname, name);
    return fopen(path, mode);
}

static void field(const char *line, const char *key, char *value, size_t size)
{
    const char *found = strstr(line, key);
    if (found)
        snprintf(value, size, "%.*s", (int)strcspn(found + strlen(key), " \n"), found + strlen(key));
}

static void add_gpu(const char *line)
{
    struct gpu *gpu = &gpus[present];
    char minor[16] = "0", memory[32] = "0";
    gpu->index = present++;
    field(line, "minor=", minor, sizeof minor);
    field(line, "memory=", memory, sizeof memory);
    field(line, "uuid=", gpu->uuid, sizeof gpu->uuid);
    field(line, "pci=", gpu->pci, sizeof gpu->pci);
    gpu->minor = (unsigned)atoi(minor);
    gpu->memory = strtoull(memory, NULL, 10);
    const char *name = strstr(line, "name=");
    if (name)
        snprintf(gpu->name, sizeof gpu->name, "%.*s", (int)strcspn(name + 5, "\n"), name + 5);
}

/* Do what the directives say of a function and a GPU; return its error code. */
static int called(const char *function, const struct gpu *gpu)
{
    char line[LINE], verb[16], name[64];
    int code, index, result = SUCCESS;
    FILE *log = beside("calls.log", "a"), *file = beside("gpus.conf", "r");
    if (log) {
        fprintf(log, "%s\n", function);
        fclose(log);
    }
    if (!file)
        abort();
    while (fgets(line, sizeof line, file)) {
        int fields = sscanf(line, "%15s %63s %d %d", verb, name, &code, &index);
        if (fields < 2 || strcmp(name, function))
            continue;
        if (!strcmp(verb, "hang"))
            for (;;)
                pause();
        if (!strcmp(verb, "crash")) {
            signal(SIGSEGV, SIG_DFL);
            raise(SIGSEGV);
        }
        if (!strcmp(verb, "quit"))
            _exit(0);
        if (!strcmp(verb, "print")) {
            puts("NVIDIA: a warning of the driver library");
            fflush(stdout);
        }
        if (!strcmp(verb, "fail") && (fields == 3 || (fields == 4 && gpu && gpu->index == (unsigned)index)))
            result = code;
    }
    fclose(file);
    return result;
}

static int answer(const char *function, const struct gpu *gpu, const char *text, char *value, unsigned size)
{
    int result = called(function, gpu);
    if (!result)
        snprintf(value, size, "%s", text);
    return result;
}

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    int result = called(__func__, NULL);
    if (result)
        return result;
    char line[LINE];
    int count = -1;
    FILE *file = beside("gpus.conf", "r");
    present = 0;
    while (fgets(line, sizeof line, file)) {
        sscanf(line, "driver %79s", driver);
        sscanf(line, "cuda %d", &cuda);
        sscanf(line, "count %d", &count);
        if (!strncmp(line, "gpu ", 4) && present < MOST_GPUS)
            add_gpu(line);
    }
    fclose(file);
    counted = count < 0 ? present : (unsigned)count;
    return SUCCESS;
}

int nvmlShutdown(void)
{
    return called(__func__, NULL);
}

const char *nvmlErrorString(int code)
{
    (void)code;
    return "an error that only the driver library knows";
}

int nvmlSystemGetDriverVersion(char *value, unsigned size)
{
    return answer(__func__, NULL, driver, value, size);
}

int nvmlSystemGetCudaDriverVersion_v2(int *value)
{
    *value = cuda;
    return called(__func__, NULL);
}

int nvmlDeviceGetCount_v2(unsigned *value)
{
    *value = counted;
    return called(__func__, NULL);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct gpu **value)
{
    if (index >= present)
        return INVALID_ARGUMENT;
    *value = &gpus[index];
    return called(__func__, *value);
}

int nvmlDeviceGetMinorNumber(struct gpu *gpu, unsigned *value)
{
    *value = gpu->minor;
    return called(__func__, gpu);
}

int nvmlDeviceGetUUID(struct gpu *gpu, char *value, unsigned size)
{
    return answer(__func__, gpu, gpu->uuid, value, size);
}

int nvmlDeviceGetName(struct gpu *gpu, char *value, unsigned size)
{
    return answer(__func__, gpu, gpu->name, value, size);
}

int nvmlDeviceGetMemoryInfo(struct gpu *gpu, struct memory *value)
{
    value->total = value->free = gpu->memory;
    value->used = 0;
    return called(__func__, gpu);
}

int nvmlDeviceGetPciInfo_v3(struct gpu *gpu, struct pci *value)
{
    memset(value, 0, sizeof *value);
    snprintf(value->bus_id, sizeof value->bus_id, "%s", gpu->pci);
    return called(__func__, gpu);
}
