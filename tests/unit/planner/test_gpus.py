"""The GPU catalog, and GPUs as nodes describe them."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_contract.units import MIB
from tacho_engines.hardware.gpu_table import GPUS, SOURCES
from tacho_engines.hardware.gpus import RESERVE_MIB, is_foreign, labelled_gpu, matches, named_gpu, rows_for
from tacho_operator.core.planner.devices import gpu_options, node_gpu
from tacho_operator.core.planner.request import request_of
from tools.mock.specs import cpu_node, gpu_node, spec

FIGURES = (
    "memory_mib",
    "usable_mib",
    "bandwidth_gbs",
    "fp16_tflops",
    "fp8_tflops",
    "fp4_tflops",
    "int8_tops",
)
GPU = "nvidia.com/gpu"


def choices(nodes, **fields):
    return gpu_options(request_of(spec(**fields)), nodes)


def bare_node(name, label):
    """Only its product is known."""
    return dataclasses.replace(gpu_node(name, label), labels={"nvidia.com/gpu.product": label})


def products(nodes, **fields):
    return [h.device.product for h in choices(nodes, **fields).available]


@pytest.mark.parametrize("row", GPUS, ids=lambda row: row.label)
def test_every_figure_has_a_source_and_a_confidence(row):
    for name in FIGURES:
        figure = getattr(row, name)
        if figure is None:
            continue
        value, source, confidence = figure
        assert value > 0
        assert source in SOURCES
        assert confidence in ("H", "M", "L")
    assert row.usable_mib[0] <= row.memory_mib[0]
    assert row.memory_mib[0] - row.usable_mib[0] < 0.05 * row.memory_mib[0]


def test_labels_and_short_names_are_unambiguous():
    labels = [row.label for row in GPUS]
    assert len(labels) == len(set(labels))
    for row in GPUS:
        assert rows_for(row.label) == (row,)
        assert all(row in rows_for(name) for name in row.short)


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("T4", "Tesla-T4"),
        ("NVIDIA-L4", "NVIDIA-L4"),
        ("l40s", "NVIDIA-L40S"),
        ("A100-80GB", "NVIDIA-A100-SXM4-80GB"),
        ("A100-40GB", "NVIDIA-A100-SXM4-40GB"),
        ("H200", "NVIDIA-H200"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA-H100-80GB-HBM3"),
        ("A100-SXM4-80GB", "NVIDIA-A100-SXM4-80GB"),
        ("h100-80gb-hbm3", "NVIDIA-H100-80GB-HBM3"),
        ("GeForce RTX 2080 Ti", "NVIDIA-GeForce-RTX-2080-Ti"),
        ("4090", "NVIDIA-GeForce-RTX-4090"),
        ("RTX-8000", "Quadro-RTX-8000"),
        ("A5000", "NVIDIA-RTX-A5000"),
        # As GKE's label cloud.google.com/gke-accelerator has them.
        ("nvidia-tesla-t4", "Tesla-T4"),
        ("nvidia-l4", "NVIDIA-L4"),
        ("nvidia-h100-80gb", "NVIDIA-H100-80GB-HBM3"),
        ("nvidia-h100-mega-80gb", "NVIDIA-H100-80GB-HBM3"),
        ("nvidia-h200-141gb", "NVIDIA-H200"),
        ("nvidia-a100-80gb", "NVIDIA-A100-SXM4-80GB"),
        ("nvidia-tesla-a100", "NVIDIA-A100-SXM4-40GB"),
    ],
)
def test_names_people_use(name, product):
    assert product in [row.label for row in rows_for(name)]
    assert named_gpu(name).product == product


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("H100", "NVIDIA-H100-80GB-HBM3"),
        ("A100", "NVIDIA-A100-SXM4-80GB"),
        ("A100-80GB", "NVIDIA-A100-SXM4-80GB"),
        ("A100-40GB", "NVIDIA-A100-SXM4-40GB"),
        ("V100", "Tesla-V100-SXM2-16GB"),
    ],
)
def test_a_short_name_of_several_products_plans_for_the_one_that_most_pools_have(name, label):
    """A pod is pinned to one product, and with PCIe it would wait for ever beside a pool of SXM."""
    assert named_gpu(name).product == label


def test_an_unknown_name_is_unknown():
    assert named_gpu("FOO-1") is None
    assert rows_for("") == ()


def test_a_mig_slice_has_its_share():
    whole, part = named_gpu("NVIDIA-A100-SXM4-80GB"), named_gpu("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb")
    assert whole is not None
    assert part is not None
    assert part.memory_bytes == 9728 * MIB
    assert part.capability == whole.capability
    assert part.fp16_flops == pytest.approx(whole.fp16_flops / 7)
    assert part.bandwidth_bytes == pytest.approx(whole.bandwidth_bytes / 8, rel=0.06)


def test_a_shared_gpu_is_planned_by_its_part():
    node = gpu_node("a", "NVIDIA-L4-SHARED", 4, memory_mib=23034, **{"nvidia.com/gpu.replicas": "4"})
    found = node_gpu(node, GPU)
    assert found is not None
    assert found.sharers == 4
    assert found.memory_bytes == named_gpu("L4").memory_bytes


def test_labels_win_over_the_catalog():
    found = labelled_gpu("NVIDIA-L4", memory_mib=46068, capability=(9, 9))
    assert found is not None
    l4 = rows_for("L4")[0]
    assert found.memory_bytes == (46068 - (l4.memory_mib[0] - l4.usable_mib[0])) * MIB
    assert found.capability == (9, 9)
    assert found.bandwidth_bytes == 300e9


@pytest.mark.parametrize(
    ("labels", "memory_mib", "capability"),
    [
        ({}, 48000, (13, 1)),
        ({"nvidia.com/gpu.compute.minor": "x"}, 48000, (13, 0)),
        ({"nvidia.com/gpu.memory": "much"}, None, None),
        ({"nvidia.com/gpu.memory": "9" * 10}, None, None),
        ({"nvidia.com/gpu.product": ""}, None, None),
    ],
)
def test_what_the_labels_of_a_node_say_of_its_gpu(labels, memory_mib, capability):
    node = gpu_node("a", "NVIDIA-FOO-9000", memory_mib=48000, compute="13.1")
    found = node_gpu(dataclasses.replace(node, labels={**node.labels, **labels}), GPU)
    assert (found and found.memory_bytes) == (memory_mib and (memory_mib - RESERVE_MIB) * MIB)
    assert (found and found.capability) == capability


def test_a_resource_of_another_name_is_described_by_the_labels_of_the_gpu():
    node = gpu_node("a", "NVIDIA-FOO-9000", memory_mib=48000)
    assert node_gpu(node, "nvidia.com/gpu.shared").memory_bytes == (48000 - RESERVE_MIB) * MIB


def test_an_unknown_gpu_works_from_labels_alone():
    found = labelled_gpu("NVIDIA-FOO-9000", memory_mib=48000, capability=(13, 0))
    assert found is not None
    assert (found.known, found.memory_bytes) == (False, (48000 - RESERVE_MIB) * MIB)
    assert labelled_gpu("NVIDIA-FOO-9000", memory_mib=None, capability=None) is None


@pytest.mark.parametrize(
    ("name", "label", "same"),
    [
        ("L4", "NVIDIA-L4", True),
        ("L4", "NVIDIA-L40S", False),
        ("L4", "NVIDIA-L4-SHARED", True),
        ("A100", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", False),
        ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", True),
        ("NVIDIA-FOO", "NVIDIA-FOO", True),
        ("foo", "NVIDIA-FOO", True),
        ("FOO", "NVIDIA-FOO-2", False),
    ],
)
def test_which_node_labels_a_name_means(name, label, same):
    assert matches(name, label) is same


def test_a_mig_resource_is_described_by_its_own_labels():
    node = dataclasses.replace(
        gpu_node(
            "a", "NVIDIA-H100-80GB-HBM3", 0, memory_mib=81559, compute="9.0",
            **{"nvidia.com/mig-2g.20gb.product": "NVIDIA-H100-80GB-HBM3-MIG-2g.20gb",
               "nvidia.com/mig-2g.20gb.memory": "19968"},
        ),
        allocatable={"memory": "64Gi", "nvidia.com/mig-2g.20gb": "3"},
    )  # fmt: skip
    asks = {"gpu": {"resourceName": "nvidia.com/mig-2g.20gb"}}
    found = choices((node,), **asks).available
    assert [(h.device.product, h.max_gpus) for h in found] == [("NVIDIA-H100-80GB-HBM3-MIG-2g.20gb", 3)]
    assert found[0].device.memory_bytes == 19968 * MIB
    assert products((node,)) == []


def test_live_products_come_smallest_first_and_named_ones_in_the_users_order():
    nodes = (
        gpu_node("a", "NVIDIA-H100-80GB-HBM3", 8),
        gpu_node("b", "NVIDIA-L4", 1),
        gpu_node("c", "NVIDIA-L4", 4),
        cpu_node("d"),
    )
    assert products(nodes) == ["NVIDIA-L4", "NVIDIA-H100-80GB-HBM3"]
    assert [h.max_gpus for h in choices(nodes).available] == [4, 8]
    wanted = {"gpu": {"products": ["H200", "H100", "L4"]}}
    found = choices(nodes, **wanted).available
    assert [(h.device.product, h.live) for h in found] == [
        ("NVIDIA-H200", False),
        ("NVIDIA-H100-80GB-HBM3", True),
        ("NVIDIA-L4", True),
    ]


def test_of_one_product_on_several_nodes_the_least_memory_counts():
    large, small = (gpu_node(str(mib), "NVIDIA-L4", 4, memory_mib=mib) for mib in (23034, 20000))
    for nodes in ((large, small), (small, dataclasses.replace(large, name="z"))):
        (found,) = choices(nodes).available
        assert found.device.memory_bytes < 20000 * MIB


def test_of_one_product_on_several_nodes_the_most_gpus_count():
    (found,) = choices((gpu_node("a", "NVIDIA-L4", 4), gpu_node("b", "NVIDIA-L4", 1))).available
    assert found.max_gpus == 4


def test_a_product_named_twice_is_tried_once():
    assert products((gpu_node("a", "NVIDIA-L4"),), gpu={"products": ["L4", "NVIDIA-L4"]}) == ["NVIDIA-L4"]


def test_nodes_the_pod_cannot_run_on_do_not_count():
    closed = dataclasses.replace(gpu_node("a", "NVIDIA-L4"), unschedulable=True)
    broken = dataclasses.replace(gpu_node("b", "NVIDIA-L4"), ready=False)
    taken = dataclasses.replace(
        gpu_node("c", "NVIDIA-L4"), taints=({"key": "team", "value": "x", "effect": "NoSchedule"},)
    )
    assert products((closed, broken, taken)) == []
    selected = {"podTemplate": {"spec": {"nodeSelector": {"zone": "b"}}}}
    here = gpu_node("d", "NVIDIA-L4", zone="a")
    there = gpu_node("e", "Tesla-T4", zone="b")
    assert products((here, there), **selected) == ["Tesla-T4"]


def test_gpus_that_nothing_describes_are_said():
    bare = dataclasses.replace(gpu_node("bare", "x"), labels={})
    found = choices((bare,))
    assert (found.available, found.unlabelled) == ((), ("bare",))
    assert choices(None, gpu={"products": ["FOO-1"]}).unknown == ("FOO-1",)


@pytest.mark.parametrize("name", ["A100-40GB", "A100", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "A100-MIG-1g.5gb"])
def test_a_product_with_a_mig_resource_means_the_slice(name):
    """Whether live or from the catalog; its name is the label's, for nodes are selected by it."""
    asks = {"gpu": {"products": [name], "resourceName": "nvidia.com/mig-1g.5gb"}}
    label = "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"
    catalog = choices(None, **asks).available[0].device
    assert (catalog.product, catalog.memory_bytes) == (label, 4864 * MIB)
    node = dataclasses.replace(
        gpu_node("a", "NVIDIA-A100-SXM4-40GB", 0, memory_mib=40960, compute="8.0"),
        allocatable={"memory": "64Gi", "nvidia.com/mig-1g.5gb": "7"},
    )
    live = choices((node,), **asks).available
    assert [(h.device.product, h.live, h.max_gpus) for h in live] == [(label, True, 7)]
    other = {"gpu": {"products": ["A100-MIG-2g.10gb"], "resourceName": "nvidia.com/mig-1g.5gb"}}
    assert [h.live for h in choices((node,), **other).available] == [False]


def test_a_short_name_of_a_shared_gpu_becomes_its_label():
    assert named_gpu("L4-SHARED").product == "NVIDIA-L4-SHARED"


def test_a_slice_may_be_shared_in_turn():
    label = "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb-SHARED"
    found = labelled_gpu(label, memory_mib=None, capability=None, sharers=2)
    assert (found.memory_bytes, found.sharers) == (4864 * MIB, 2)


def test_a_slice_of_an_h200_is_smaller_than_its_name():
    """nvidia-smi mig -lgip: 1g.18gb, 16.00 GiB."""
    found = named_gpu("NVIDIA-H200-MIG-1g.18gb")
    assert found is not None
    assert 0.98 * 16384 * MIB < found.memory_bytes <= 16384 * MIB


@pytest.mark.parametrize(
    ("label", "memory_mib", "product"),
    [
        ("L4", None, "NVIDIA-L4"),
        ("L4", 23034, "NVIDIA-L4"),
        ("T4-SHARED", None, "Tesla-T4-SHARED"),
        ("RTX4090", None, "NVIDIA-GeForce-RTX-4090"),
        ("A10", None, "NVIDIA-A10"),
    ],
)
def test_a_node_may_be_labelled_with_a_short_name(label, memory_mib, product):
    """By hand. The plan has the product as drivers name it, and pods select the node's own label."""
    node = gpu_node("a", label, memory_mib=memory_mib) if memory_mib else bare_node("a", label)
    found = choices((node,))
    assert found.unsized == ()
    (gpu,) = (option.device for option in found.available)
    assert (gpu.product, gpu.node_label, gpu.known) == (product, label, True)
    assert gpu.memory_bytes == named_gpu(product).memory_bytes
    assert products((node,), gpu={"products": [product]}) == [product]
    other = gpu_node("b", product)
    assert [option.device.node_label for option in choices((node, other)).available] == [label, ""]


def test_a_short_name_of_several_products_is_none_of_them():
    """Drivers name one product; a plan for another would be refused in the pod."""
    assert labelled_gpu("A100-80GB", memory_mib=None, capability=None) is None
    assert not labelled_gpu("A100-80GB", memory_mib=81920, capability=(8, 0)).known


@pytest.mark.parametrize("memory_mib", [0, 1])
def test_a_label_that_tells_no_memory_says_nothing(memory_mib):
    """As the driver has it of GPUs that share the host's memory."""
    unknown = gpu_node("a", "NVIDIA-GB10", memory_mib=memory_mib, compute="12.1")
    found = choices((unknown,))
    assert (found.unlabelled, found.unsized) == ((), ("a (NVIDIA-GB10)",))
    known = node_gpu(gpu_node("b", "NVIDIA-L4", memory_mib=memory_mib, compute="8.9"), GPU)
    assert known.memory_bytes == named_gpu("NVIDIA-L4").memory_bytes


@pytest.mark.parametrize(
    ("name", "foreign"),
    [
        *(
            (name, True)
            for name in ("MI300X", "amd.com/gpu", "gpu.intel.com/i915", "habana.ai/gaudi", "Gaudi3")
        ),
        *((name, False) for name in ("L4", "nvidia.com/gpu", "example.com/gpu", "nvidia.com/mig-1g.5gb")),
    ],
)
def test_which_names_are_of_other_vendors(name, foreign):
    assert is_foreign(name) is foreign


@pytest.mark.parametrize("label", [row.label for row in GPUS])
def test_a_label_may_lack_the_vendor_and_the_case(label):
    bare = label.removeprefix("NVIDIA-").lower()
    assert [row.label for row in rows_for(bare)] == [label]
    assert matches(bare, label)
