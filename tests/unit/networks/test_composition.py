import torch
from torch import nn

from mode_connectivity.networks.composition import ParallelSum, residual_stages


def test_parallel_sum_adds_all_branches_and_leaves_its_input_alone() -> None:
    network = ParallelSum(same=nn.Identity(), linear=nn.Linear(2, 2), more=nn.Identity())
    with torch.no_grad():
        network.linear.weight.copy_(2 * torch.eye(2))
        network.linear.bias.fill_(1)
    inputs = torch.tensor([[1.0, -3.0]])
    assert network(inputs).tolist() == [[5.0, -11.0]]
    assert inputs.tolist() == [[1.0, -3.0]]


def test_residual_stages_halve_the_image_where_a_later_stage_begins() -> None:
    made = []

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        made.append((inputs, outputs, stride))
        return nn.Identity()

    stages = residual_stages(3, [4, 8], 2, block)
    assert made == [(3, 4, 1), (4, 4, 1), (4, 8, 2), (8, 8, 1)]
    assert list(stages) == ["stage1", "stage2"]
