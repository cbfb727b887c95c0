#!/usr/bin/env python3
"""Runs torch.nn.LSTM and writes all there is to know to a safetensors file, or checks one.

    nn_lstm.py lstm.safetensors           random weights, input and states; PyTorch's outputs
    nn_lstm.py --check back.safetensors   loads the weights, runs them, compares the outputs

The file holds the state_dict under "lstm.", the input x, the states h0 and c0, the outputs y, hn
and cn, and lengths where they were given; "batch_first" stands in its metadata.  Shapes tell the
rest.  lstm_from_torch.c reads and writes the same files.

Needs torch and nothing else: the format is a length, a JSON header and plain numbers.
"""
import argparse
import json
import struct
import sys

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

# safetensors' name of a dtype, and struct's.
DTYPES = {torch.float32: ("F32", "f"), torch.float64: ("F64", "d"), torch.int64: ("I64", "q")}
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}


def save(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, value in tensors.items():
        dtype, code = DTYPES[value.dtype]
        numbers = struct.pack(f"<{value.numel()}{code}", *value.flatten().tolist())
        header[name] = {"dtype": dtype, "shape": list(value.shape),
                        "data_offsets": [len(data), len(data) + len(numbers)]}
        data += numbers
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def load(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(size)), file.read()
    metadata, tensors = header.pop("__metadata__", {}), {}
    for name, entry in header.items():
        dtype, code = next((d, c) for d, (n, c) in DTYPES.items() if n == entry["dtype"])
        begin, end = entry["data_offsets"]
        numbers = struct.unpack(f"<{(end - begin) // struct.calcsize(code)}{code}",
                                data[begin:end])
        tensors[name] = torch.tensor(numbers, dtype=dtype).reshape(entry["shape"])
    return tensors, metadata


def run(lstm, x, h0, c0, lengths):
    """y, hn and cn; lengths, or None, are the steps of each sequence, in any order."""
    if lengths is None:
        y, (hn, cn) = lstm(x, (h0, c0))
        return y, hn, cn
    packed = pack_padded_sequence(x, lengths, lstm.batch_first, enforce_sorted=False)
    packed, (hn, cn) = lstm(packed, (h0, c0))
    steps = x.size(1 if lstm.batch_first else 0)
    y, _ = pad_packed_sequence(packed, lstm.batch_first, total_length=steps)
    return y, hn, cn


def write(options):
    torch.manual_seed(options.seed)
    torch.set_default_dtype(getattr(torch, options.dtype))
    lstm = torch.nn.LSTM(options.input_size, options.hidden_size, options.layers,
                         bias=options.bias, batch_first=options.batch_first,
                         bidirectional=options.bidirectional, proj_size=options.proj_size)
    lengths = torch.tensor(options.lengths) if options.lengths else None
    batch = len(options.lengths) if options.lengths else options.batch
    passes = options.layers * (1 + options.bidirectional)
    x = torch.randn(options.steps, batch, options.input_size)
    if options.batch_first:
        x = x.transpose(0, 1)
    h0 = torch.randn(passes, batch, options.proj_size or options.hidden_size)
    c0 = torch.randn(passes, batch, options.hidden_size)
    y, hn, cn = run(lstm, x, h0, c0, lengths)
    tensors = {"lstm." + name: value for name, value in lstm.state_dict().items()}
    tensors |= {"x": x, "h0": h0, "c0": c0, "y": y, "hn": hn, "cn": cn}
    if lengths is not None:
        tensors["lengths"] = lengths
    save(options.file, tensors, {"batch_first": str(int(options.batch_first))})


def check(options):
    tensors, metadata = load(options.file)
    weights = {n[5:]: value for n, value in tensors.items() if n.startswith("lstm.")}
    first = weights["weight_ih_l0"]
    projection = weights.get("weight_hr_l0")
    lstm = torch.nn.LSTM(
        first.size(1), first.size(0) // 4,
        num_layers=sum(f"weight_ih_l{n}" in weights for n in range(len(weights))),
        bias="bias_ih_l0" in weights, batch_first=metadata["batch_first"] == "1",
        bidirectional="weight_ih_l0_reverse" in weights,
        proj_size=0 if projection is None else projection.size(0), dtype=first.dtype)
    lstm.load_state_dict(weights, strict=True)
    tolerance = TOLERANCE[first.dtype] if options.tolerance is None else options.tolerance
    outputs = run(lstm, tensors["x"], tensors["h0"], tensors["c0"], tensors.get("lengths"))
    good = True
    for name, ours in zip(("y", "hn", "cn"), outputs):
        worst = (ours - tensors[name]).abs().max().item()
        good = good and worst <= tolerance
        print(f"{name:3} {str(list(ours.shape)):14} largest difference {worst:.2g}")
    if not good:
        sys.exit(f"nn_lstm.py: {options.file}: outputs differ by more than {tolerance:g}")


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("file")
    p.add_argument("--check", action="store_true", help="read the file and compare")
    p.add_argument("--tolerance", type=float, help="of --check (1e-5, of float64 1e-13)")
    p.add_argument("--input-size", type=int, default=3)
    p.add_argument("--hidden-size", type=int, default=5)
    p.add_argument("--layers", type=int, default=2)
    p.add_argument("--proj-size", type=int, default=2)
    for name in ("bidirectional", "batch-first", "bias"):
        p.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=True)
    p.add_argument("--steps", type=int, default=4)
    p.add_argument("--batch", type=int, default=2)
    p.add_argument("--lengths", type=lambda text: [int(n) for n in text.split(",")],
                   help="steps of each sequence, as 4,1,3; instead of --batch")
    p.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    p.add_argument("--seed", type=int, default=1)
    options = p.parse_args()
    with torch.no_grad():
        (check if options.check else write)(options)


if __name__ == "__main__":
    main()
