"""Codes of 1 to 8 bits, stored one after the other in integers -> one number each."""

import torch
from torch import Tensor

# E2M1 of OCP Microscaling (MX) 1.0: the magnitudes of codes 0 to 7; the fourth bit is the sign.
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
# E2M3: the magnitudes of codes 0 to 31; the sixth bit is the sign.
_E2M3 = (*(m / 8 for m in range(8)), *((1 + m / 8) * 2**e for e in range(3) for m in range(8)))


def unpack_bits(packed: Tensor, bits: int, count: int) -> Tensor:
    """Return unsigned codes that are stored without gaps along the last dimension, lowest bits first.

    This is how GPTQ, compressed-tensors, MLX and MX formats store them; a code may begin in one integer and end in the
    next. Where the codes run along another dimension, transpose first.

    Args:
        packed: integers of any width, shape (..., n).
        bits: 1 to 8 per code.
        count: codes in a row; what is left of the last integer is padding.

    Returns:
        uint8, shape (..., count).

    Examples:
        >>> unpack_bits(torch.tensor([0x21, 0x43], dtype=torch.uint8), 4, 3).tolist()
        [1, 2, 3]
    """
    if not packed.numel():  # no stride to view
        return torch.empty((*packed.shape[:-1], count), dtype=torch.uint8, device=packed.device)
    stream = packed.contiguous().view(torch.uint8)
    if bits == 8:
        return stream[..., :count]
    if 8 % bits == 0:
        codes = torch.stack([(stream >> shift) & (2**bits - 1) for shift in range(0, 8, bits)], dim=-1)
        return codes.flatten(-2)[..., :count]
    # Eight codes fill as many bytes as a code has bits.
    padded = torch.nn.functional.pad(stream, (0, -stream.shape[-1] % bits)).unflatten(-1, (-1, bits))
    word = torch.zeros(padded.shape[:-1], dtype=torch.int64, device=packed.device)
    for i in range(bits):
        word |= padded[..., i].long() << 8 * i
    codes = torch.stack([(word >> bits * i & (2**bits - 1)).to(torch.uint8) for i in range(8)], dim=-1)
    return codes.flatten(-2)[..., :count]


def unpack_fp4(packed: Tensor) -> Tensor:
    """Return the values of E2M1 codes, two in a byte, the first in the low bits.

    Args:
        packed: uint8 or int8, shape (..., n).

    Returns:
        float32, shape (..., 2 * n).
    """
    levels = torch.tensor([*_E2M1, *(-level for level in _E2M1)], device=packed.device)
    pairs = torch.stack((levels.repeat(16), levels.repeat_interleave(16)), dim=-1)  # by byte
    codes = packed.contiguous().view(torch.uint8)
    return pairs.index_select(0, codes.flatten().int()).view(*codes.shape[:-1], 2 * codes.shape[-1])


def unpack_fp6(packed: Tensor) -> Tensor:
    """Return the values of E2M3 codes, four in three bytes, the first in the low bits.

    Args:
        packed: uint8, shape (..., 3 * n).

    Returns:
        float32, shape (..., 4 * n).
    """
    levels = torch.tensor([*_E2M3, *(-level for level in _E2M3)], device=packed.device)
    codes = unpack_bits(packed, 6, packed.shape[-1] * 8 // 6)
    return levels.index_select(0, codes.flatten().int()).view(codes.shape)


def power_of_two(exponents: Tensor) -> Tensor:
    """Return E8M0 scales as float32: 2^(code - 127), NaN for code 255.

    Args:
        exponents: uint8, or float8_e8m0fnu.

    Source: OCP Microscaling Formats (MX) 1.0, section 5.4.
    """
    codes = exponents if exponents.dtype is torch.uint8 else exponents.view(torch.uint8)
    powers = torch.exp2(torch.arange(256, dtype=torch.float64) - 127)
    powers[255] = torch.nan
    return powers.float().to(codes.device).index_select(0, codes.flatten().int()).view(codes.shape)
