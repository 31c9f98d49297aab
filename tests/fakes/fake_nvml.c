/* A stand-in for NVIDIA's libnvidia-ml.so.1.
 *
 * It reads "gpus.conf" beside itself, one directive a line:
 *   driver 580.65.06            what the driver's version is
 *   cuda 13000                  what CUDA's version is
 *   gpu minor=3 uuid=GPU-x memory=1024 used=0 busy=0 pci=00000000:65:00.0 mig=1 name=the rest of the line
 *   mig gi=1 ci=0 uuid=MIG-x memory=1024 name=the rest of the line    one MIG device of the GPU above
 *   free                        the next MIG device does not get the next index
 *   count 3                     what is counted, however many GPUs follow
 *   fail FUNCTION CODE [INDEX]  a call returns an error, for one GPU or for all
 *   hang FUNCTION               a call never returns
 *   crash FUNCTION              a call is a segmentation fault
 *   quit FUNCTION               a call ends the process
 *   print FUNCTION              a call writes to standard output
 *   wait FUNCTION PATH          a call returns only when PATH is there
 *   run FUNCTION COMMAND        a call runs a shell's command, as the libraries start nvidia-modprobe
 *   transient                   persistence mode is off
 * and appends the name of every function that is called to "calls.log" beside itself.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, MOST_GPUS = 64, MOST_MIG = 8, LINE = 512 };

/* A GPU, or a MIG device, which has the index of its GPU. */
struct gpu {
    unsigned index, minor, busy, gpu_instance, compute_instance;
    int divided;
    unsigned long long memory, used;
    char uuid[96], pci[32], name[96];
    struct gpu *parts[MOST_MIG];
};
struct utilization { unsigned gpu, memory; };
struct memory { unsigned long long total, free, used; };
struct pci {
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

static struct gpu gpus[MOST_GPUS], mig_devices[MOST_GPUS * MOST_MIG];
static unsigned present, counted, mig_present;
static int cuda = 13000, transient;
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

static unsigned long long number(const char *line, const char *key)
{
    char value[32] = "0";
    field(line, key, value, sizeof value);
    return strtoull(value, NULL, 10);
}

static void describe(struct gpu *gpu, const char *line)
{
    gpu->memory = number(line, "memory=");
    gpu->used = number(line, "used=");
    gpu->busy = (unsigned)number(line, "busy=");
    field(line, "uuid=", gpu->uuid, sizeof gpu->uuid);
    const char *name = strstr(line, "name=");
    if (name)
        snprintf(gpu->name, sizeof gpu->name, "%.*s", (int)strcspn(name + 5, "\n"), name + 5);
}

static void add_gpu(const char *line)
{
    struct gpu *gpu = &gpus[present];
    memset(gpu, 0, sizeof *gpu);
    gpu->index = present++;
    gpu->minor = (unsigned)number(line, "minor=");
    gpu->divided = strstr(line, " mig=") ? (int)number(line, " mig=") : -1;
    field(line, "pci=", gpu->pci, sizeof gpu->pci);
    describe(gpu, line);
}

static void add_mig_device(const char *line)
{
    struct gpu *device = &mig_devices[mig_present++], *parent = &gpus[present - 1];
    memset(device, 0, sizeof *device);
    device->index = parent->index;
    device->gpu_instance = (unsigned)number(line, " gi=");
    device->compute_instance = (unsigned)number(line, " ci=");
    describe(device, line);
    for (int i = 0; i < MOST_MIG; i++)
        if (!parent->parts[i]) {
            parent->parts[i] = device;
            break;
        }
}

/* Leave an index free, as where a MIG device was removed. */
static struct gpu gap;

static void add_gap(void)
{
    struct gpu *parent = &gpus[present - 1];
    for (int i = 0; i < MOST_MIG; i++)
        if (!parent->parts[i]) {
            parent->parts[i] = &gap;
            break;
        }
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
        if (!strcmp(verb, "wait")) {
            char path[LINE];
            sscanf(line, "wait %*s %511s", path);
            while (access(path, F_OK))
                usleep(10000);
        }
        if (!strcmp(verb, "run") && system(strstr(line, function) + strlen(function)) == -1)
            abort();
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
    present = mig_present = 0;
    while (fgets(line, sizeof line, file)) {
        sscanf(line, "driver %79s", driver);
        sscanf(line, "cuda %d", &cuda);
        sscanf(line, "count %d", &count);
        if (!strncmp(line, "gpu ", 4) && present < MOST_GPUS)
            add_gpu(line);
        if (!strncmp(line, "mig ", 4) && present)
            add_mig_device(line);
        if (!strncmp(line, "free", 4) && present)
            add_gap();
        transient |= !strncmp(line, "transient", 9);
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
    value->total = gpu->memory;
    value->used = gpu->used;
    value->free = gpu->memory - gpu->used;
    return called(__func__, gpu);
}

int nvmlDeviceGetPciInfo_v3(struct gpu *gpu, struct pci *value)
{
    memset(value, 0, sizeof *value);
    snprintf(value->bus_id, sizeof value->bus_id, "%s", gpu->pci);
    return called(__func__, gpu);
}

int nvmlDeviceGetUtilizationRates(struct gpu *gpu, struct utilization *value)
{
    value->gpu = gpu->busy;
    value->memory = 0;
    return called(__func__, gpu);
}

int nvmlDeviceGetPersistenceMode(struct gpu *gpu, unsigned *value)
{
    *value = !transient;
    return called(__func__, gpu);
}

int nvmlDeviceGetMigMode(struct gpu *gpu, unsigned *current, unsigned *pending)
{
    *current = *pending = gpu->divided > 0;
    int result = called(__func__, gpu);
    return result || gpu->divided >= 0 ? result : NOT_SUPPORTED;
}

int nvmlDeviceGetMaxMigDeviceCount(struct gpu *gpu, unsigned *value)
{
    *value = MOST_MIG;
    return called(__func__, gpu);
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct gpu *gpu, unsigned index, struct gpu **value)
{
    if (index >= MOST_MIG || !gpu->parts[index] || gpu->parts[index] == &gap)
        return NOT_FOUND;
    *value = gpu->parts[index];
    return called(__func__, gpu);
}

int nvmlDeviceGetGpuInstanceId(struct gpu *gpu, unsigned *value)
{
    *value = gpu->gpu_instance;
    return called(__func__, gpu);
}

int nvmlDeviceGetComputeInstanceId(struct gpu *gpu, unsigned *value)
{
    *value = gpu->compute_instance;
    return called(__func__, gpu);
}
