"""NVIDIA's own libraries start in a confined kernel as outside, but where a right of the baseline is missing."""

GPU = "NVIDIA stand-in, no hardware"
UUID = "GPU-12345678-9abc-def0-1234-56789abcdef0"
LISTED = f"GPU 0: {GPU} (UUID: {UUID})\n"
STARTED = {"cuInit": 0, "nvmlInit": 0, "devices": 1, "nvidia-smi": LISTED}

# CUresult of cuInit where a thread's name cannot be written in /proc: 304 is CUDA_ERROR_OPERATING_SYSTEM.
WITH_PROC_READ_ONLY = {"535": 0, "550": 304, "555": 304}


def said(told, where):
    return {name: told[where][name] for name in STARTED}


def test_outside_of_a_sandbox_the_libraries_start(told):
    assert told["outside"] == STARTED


def test_discovery_tells_the_gpu(told, series):
    answer = told["discovered"]
    assert (answer["status"], answer["driver_version"]) == ("ok", told["version"])
    assert answer["driver_version"].startswith(f"{series}.")
    (gpu,) = answer["gpus"]
    assert (gpu["minor"], gpu["uuid"], gpu["name"]) == (0, UUID, GPU)
    assert (gpu["memory"], gpu["pci_address"], gpu["fault"]) == (80 << 30, "0000:01:00.0", None)


def test_with_proc_promoted_a_kernel_has_the_gpu_and_nvidia_smi_lists_it(told):
    assert said(told, "promoted") == STARTED
    assert f"{GPU}, 80 GiB, /dev/nvidia0" in told["promoted"]["gpus"]


def test_the_check_passes_as_far_as_the_stand_in_goes(told):
    # It makes no contexts: CUDA_ERROR_INVALID_DEVICE.
    assert told["promoted"]["failed"].keys() == {"GPU 0 adds two vectors"}
    assert "cuDevicePrimaryCtxRetain returned 101" in told["promoted"]["failed"]["GPU 0 adds two vectors"]


def test_with_proc_kept_read_only_newer_drivers_do_not_start_cuda(told, series):
    code = WITH_PROC_READ_ONLY[series]
    assert said(told, "read-only") == {**STARTED, "cuInit": code, "devices": 0 if code else 1}


def test_the_check_names_proc_where_a_driver_needs_it(told, series):
    failed = told["read-only"]["failed"]
    assert "Permission denied" in failed["a thread's name is written in /proc"]
    assert failed.get("cuInit", "") == (
        "cuInit returned 304 (CUDA_ERROR_OPERATING_SYSTEM)" if WITH_PROC_READ_ONLY[series] else ""
    )


def test_without_unified_memory_cuda_does_not_start(told):
    assert said(told, "no unified memory") == {**STARTED, "cuInit": 999, "devices": 0}
    assert "Permission denied" in told["no unified memory"]["failed"]["/dev/nvidia-uvm opens"]


def test_a_kernel_without_a_gpu_reaches_none(told):
    # CUDA_ERROR_NO_DEVICE, which frameworks take for a machine without a GPU, and not an error of the machine's.
    assert (said(told, "no GPU")["devices"], said(told, "no GPU")["cuInit"]) == (0, 100)
    assert GPU not in said(told, "no GPU")["nvidia-smi"]


def test_none_of_this_is_recorded_as_hardware(told):
    assert "/proc/devices is missing, or something is mounted there" in told["recorder"]
