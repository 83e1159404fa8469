import torch
from torch import nn

from gshn.encoders.answering import AnswerHead


@torch.no_grad()
def test_the_head_is_the_equations() -> None:
    torch.manual_seed(0)
    head = AnswerHead(images=2, evidence=5, width=3, answers=4, dropout=0.5).eval()
    evidence = torch.randn(6, 2, 5)
    first, _, _, last = head.answer
    for row, logits in zip(evidence, head(evidence), strict=True):
        seen = []
        for image in row:
            verdict = nn.functional.gelu(head.verdict[0].weight @ image + head.verdict[0].bias)
            seen += [image, verdict]
        values, gates = (first.weight @ torch.cat(seen) + first.bias).chunk(2)
        expected = last.weight @ (values * torch.sigmoid(gates)) + last.bias
        torch.testing.assert_close(logits, expected)


def test_every_image_teaches_the_verdict_on_all() -> None:
    head = AnswerHead(images=2, evidence=5, width=3, answers=4, dropout=0.0)
    for k in range(2):
        head.zero_grad()
        evidence = torch.zeros(1, 2, 5)
        evidence[0, k] = 1.0
        head(evidence)[0, 0].backward()
        assert (head.verdict[0].weight.grad != 0).any()
