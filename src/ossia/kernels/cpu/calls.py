"""Arguments of the CPU kernels that take a structure, as csrc/cpu/ossia_cpu.h has them."""

from __future__ import annotations

import ctypes

_pointer, _int, _int64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64


class LinearCall(ctypes.Structure):
    """Arguments of `ossia_run_linear`; csrc/cpu/ossia_cpu.h says what each holds."""

    _fields_ = (
        *((name, _pointer) for name in ("weight", "scales", "bias", "x", "out")),
        *((name, _int64) for name in ("tokens", "rows", "columns")),
        *((name, _int) for name in ("activations", "threads")),
    )


class RopeCall(ctypes.Structure):
    """Arguments of `ossia_rotate_and_write`; csrc/cpu/ossia_cpu.h says what each holds."""

    _fields_ = (
        *((name, _pointer) for name in (
            "q", "k", "v", "cos", "sin", "k_pages", "v_pages", "slots",
        )),
        *((name, _int64) for name in (
            "tokens", "heads", "kv_heads", "head_dim", "q_stride", "k_stride", "v_stride",
        )),
        *((name, _int) for name in ("type", "int8_pages", "threads")),
    )  # fmt: skip


class AttentionCall(ctypes.Structure):
    """Arguments of `ossia_attend`; csrc/cpu/ossia_cpu.h says what each holds."""

    _fields_ = (
        *((name, _pointer) for name in (
            "q", "k_pages", "v_pages", "page_table", "query_lens", "context_lens", "sinks", "out",
        )),
        *((name, _int64) for name in (
            "seqs", "heads", "kv_heads", "head_dim", "page_size", "max_pages", "window",
        )),
        *((name, _int) for name in ("type", "int8_pages", "threads")),
    )  # fmt: skip


class ExpertsCall(ctypes.Structure):
    """Arguments of `ossia_run_experts`; csrc/cpu/ossia_cpu.h says what each holds."""

    _fields_ = (
        *((name, _pointer) for name in (
            "gate_up_codes", "gate_up_scales", "gate_up_bias", "down_codes", "down_scales",
            "down_bias", "x", "ids", "weights", "out",
        )),
        *((name, _int64) for name in ("tokens", "experts", "hidden", "ffn", "top_k")),
        ("alpha", ctypes.c_float),
        ("limit", ctypes.c_float),
        *((name, _int) for name in ("type", "activations", "threads")),
    )  # fmt: skip


class MatrixArguments(ctypes.Structure):
    """A matrix of a `DecoderLayerArguments`."""

    _fields_ = (*((name, _pointer) for name in ("weight", "scales", "bias")), ("rows", _int64))


class DecoderLayerArguments(ctypes.Structure):
    """A layer of a `DecoderCall`; csrc/cpu/ossia_cpu.h says what each holds."""

    _fields_ = (
        ("input_norm", _pointer),
        ("qkv", MatrixArguments),
        ("sinks", _pointer),
        ("output", MatrixArguments),
        ("post_norm", _pointer),
        ("router", MatrixArguments),
        *((name, _pointer) for name in (
            "gate_up_codes", "gate_up_scales", "gate_up_bias", "down_codes", "down_scales",
            "down_bias", "k_pages", "v_pages",
        )),
        *((name, _int64) for name in ("window", "kind")),
    )  # fmt: skip


class DecoderCall(ctypes.Structure):
    """Arguments of `ossia_run_decoder`; csrc/cpu/ossia_cpu.h says what each holds."""

    _fields_ = (
        *((name, _pointer) for name in (
            "layers", "final_norm", "x", "cos", "sin", "query_lens", "context_lens",
        )),
        *((name, _pointer * 2) for name in ("slots", "page_tables")),
        ("max_pages", _int64 * 2),
        *((name, _int64) for name in (
            "num_layers", "seqs", "tokens", "hidden", "heads", "kv_heads", "head_dim", "page_size",
            "experts", "ffn", "top_k",
        )),
        *((name, ctypes.c_float) for name in ("eps", "alpha", "limit")),
        *((name, _int) for name in ("activations", "int8_pages", "threads")),
    )  # fmt: skip


class Draw(ctypes.Structure):
    """How a row of `ossia_sample` is drawn; csrc/cpu/ossia_cpu.h says what each holds."""

    _fields_ = (
        ("uniform", ctypes.c_double),
        ("top_k", _int64),
        *((name, ctypes.c_float) for name in ("temperature", "top_p", "min_p")),
    )


class SamplingCall(ctypes.Structure):
    """Arguments of `ossia_sample`; csrc/cpu/ossia_cpu.h says what each holds."""

    _fields_ = (
        ("logits", _pointer),
        ("draws", ctypes.POINTER(Draw)),
        *((name, _pointer) for name in ("ids", "peaks")),
        *((name, _int64) for name in ("rows", "vocab", "stride")),
        ("threads", _int),
    )


class NarrowLogitsCall(ctypes.Structure):
    """Arguments of `ossia_most_likely`; csrc/cpu/ossia_cpu.h says what each holds."""

    _fields_ = (
        *((name, _pointer) for name in ("logits", "ids", "peaks")),
        *((name, _int64) for name in ("rows", "vocab", "stride")),
        ("threads", _int),
    )


class StepCall(ctypes.Structure):
    """Arguments of `ossia_run_step`; csrc/cpu/ossia_cpu.h says what each holds."""

    _fields_ = (
        ("layers", ctypes.POINTER(DecoderCall)),
        ("unembedding", ctypes.POINTER(LinearCall)),
        ("drawing", ctypes.POINTER(NarrowLogitsCall)),
        *((name, _pointer) for name in ("embeddings", "cos", "sin", "ids", "positions")),
        ("pages", _pointer * 2),
        ("page_counts", _pointer * 2),
        *((name, _pointer) for name in ("x", "layers_cos", "layers_sin", "context_lens")),
        ("slots", _pointer * 2),
        ("page_tables", _pointer * 2),
        *((name, _int64) for name in ("vocab", "kinds")),
    )


class LogprobsCall(ctypes.Structure):
    """Arguments of `ossia_token_logprobs`; csrc/cpu/ossia_cpu.h says what each holds."""

    _fields_ = (
        *((name, _pointer) for name in ("logits", "token_ids", "chosen", "top", "top_ids")),
        *((name, _int64) for name in ("rows", "vocab", "stride", "num_top")),
        ("threads", _int),
    )
