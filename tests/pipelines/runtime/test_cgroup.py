"""Limits of control groups, from files as the kernel shows them on hosts and in containers."""

from __future__ import annotations

from pathlib import Path

from pipelines.runtime import cgroup

V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 {top} /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
)


def machine(root: Path, *, mounts: str, groups: str, **files: str) -> Path:
    """Make `proc` and `sys` below a folder; files: text by path below sys/fs/cgroup, `__` for `/`, `_0` for `.`."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + mounts)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_0", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_quota_of_version_2_is_in_processors(tmp_path: Path) -> None:
    root = machine(tmp_path, mounts=V2, groups="0::/pod\n", pod__cpu_0max="150000 100000\n")
    assert cgroup.processors(root) == 1.5


def test_the_smallest_quota_of_a_group_and_its_parents_counts(tmp_path: Path) -> None:
    files = {"a__b__c__cpu_0max": "800000 100000", "a__b__cpu_0max": "max 100000", "a__cpu_0max": "300000 100000"}
    root = machine(tmp_path, mounts=V2, groups="0::/a/b/c\n", **files, other__cpu_0max="100000 100000")
    assert cgroup.processors(root) == 3


def test_max_is_no_limit(tmp_path: Path) -> None:
    files = {"pod__cpu_0max": "max 100000\n", "pod__memory_0max": "max\n"}
    root = machine(tmp_path, mounts=V2, groups="0::/pod\n", **files)
    assert (cgroup.processors(root), cgroup.memory(root)) == (None, None)


def test_version_1_has_quota_and_period_in_files_of_their_own(tmp_path: Path) -> None:
    root = machine(
        tmp_path, mounts=V1.format(top="/docker/x"), groups="4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n0::/\n"
    )
    folder = root / "sys/fs/cgroup/cpu,cpuacct"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("250000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert cgroup.processors(root) == 2.5
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert cgroup.processors(root) is None


def test_a_path_of_the_host_that_is_missing_inside_leads_to_the_mounted_folder(tmp_path: Path) -> None:
    root = machine(tmp_path, mounts=V2, groups="0::/kubepods/pod1/abc\n", cpu_0max="200000 100000\n")
    assert cgroup.processors(root) == 2


def test_a_memory_limit_is_the_smallest_and_a_number_near_2_to_63_is_none(tmp_path: Path) -> None:
    root = machine(tmp_path, mounts=V1.format(top="/"), groups="4:memory:/a/b\n")
    for group, limit in (("a/b", 9223372036854771712), ("a", 2 << 30)):
        folder = root / "sys/fs/cgroup/memory" / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    assert cgroup.memory(root) == 2 << 30


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert (cgroup.processors(tmp_path), cgroup.memory(tmp_path)) == (None, None)
    assert cgroup.processors(machine(tmp_path, mounts="", groups="")) is None
