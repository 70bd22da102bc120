"""Blocks and models as the Python gguf package writes and reads them.

pip install gguf transformers torch; python test/gguf/make_gguf.py

blocks.json: bytes of each type (base64) and the float32 numbers that gguf.quants makes of them.
models/NAME.gguf: small random models of transformers, written by gguf.GGUFWriter with the names of gguf.get_tensor_name_map
and the conventions of convert_hf_to_gguf.py; models/NAME.json: ids and transformers' logits.
"""

import base64, json, os
import gguf, numpy as np, torch
from gguf import GGMLQuantizationType as Q
from transformers import AutoModelForCausalLM, GemmaConfig, GPT2Config, LlamaConfig, Qwen2Config, Qwen3Config

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(0)


def half(values):
    return np.asarray(values, np.float16).tobytes()


def blocks():
    """Random bytes with finite scales: every code, scale and minimum occurs."""
    out = {}
    for name, scales_at in dict(Q4_0=[0], Q4_1=[0, 2], Q5_0=[0], Q5_1=[0, 2], Q8_0=[0], Q4_K=[0, 2], Q5_K=[0, 2], Q6_K=[208]).items():
        kind = Q[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        count = 8 if elements == 32 else 3
        data = rng.integers(0, 256, (count, size), dtype=np.uint8)
        for at in scales_at:
            data[:, at : at + 2] = np.frombuffer(half(rng.normal(size=count)), np.uint8).reshape(count, 2)
        values = gguf.quants.dequantize(data, kind).astype(np.float32)
        out[name] = dict(bytes=base64.b64encode(data.tobytes()).decode(), values=base64.b64encode(values.tobytes()).decode())
    values = np.concatenate([rng.normal(size=32 * 20), np.zeros(32), np.full(32, -3.5), [0.5, 1.5, -127] + [0] * 29]).astype(np.float32)
    out["quantised Q8_0"] = dict(
        values=base64.b64encode(values.tobytes()).decode(),
        bytes=base64.b64encode(gguf.quants.quantize(values.reshape(-1, 32), Q.Q8_0).tobytes()).decode(),
    )
    return out


def permute(weight, heads):
    """convert_hf_to_gguf.py, LlamaModel.permute"""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


small = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64)
CONFIGS = dict(
    llama=(gguf.MODEL_ARCH.LLAMA, LlamaConfig(**small, tie_word_embeddings=False, rope_theta=5e4, attention_bias=True)),
    llama3=(
        gguf.MODEL_ARCH.LLAMA,
        LlamaConfig(**small, tie_word_embeddings=True, rope_parameters=dict(rope_type="llama3", rope_theta=5e5, factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)),
    ),
    qwen2=(gguf.MODEL_ARCH.QWEN2, Qwen2Config(**small, tie_word_embeddings=True)),
    qwen3=(gguf.MODEL_ARCH.QWEN3, Qwen3Config(**small, head_dim=16, tie_word_embeddings=False)),
    gemma=(gguf.MODEL_ARCH.GEMMA, GemmaConfig(**small, head_dim=16)),
    gpt2=(gguf.MODEL_ARCH.GPT2, GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
)


def tokenizer(writer, name):
    """Bytes for gpt2's kind, a few pieces for llama's."""
    if name == "llama":
        pieces = ["<unk>", "<s>", "</s>", "▁", "a", "b", "c", "ab", "▁a", "abc", "▁abc", "bc"]
        tokens = pieces + [f"<0x{i:02X}>" for i in range(64 - len(pieces))]
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(tokens)
        writer.add_token_scores([0.0, 0.0, 0.0, -9.0, -9.0, -9.0, -9.0, -1.0, -2.0, -3.0, -4.0, -5.0] + [0.0] * (64 - len(pieces)))
        writer.add_token_types([2, 3, 3] + [1] * (len(pieces) - 3) + [6] * (64 - len(pieces)))
        writer.add_unk_token_id(0)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_add_bos_token(True)
    else:
        tokens = ["<|end|>", "a", "b", "c", "Ġ", "ab", "Ġab"] + [str(i) for i in range(10)]
        tokens += [f"x{i}" for i in range(64 - len(tokens))]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(dict(llama3="llama-bpe", qwen2="qwen2", qwen3="qwen2", gemma="smollm").get(name, "gpt-2"))
        writer.add_token_list(tokens)
        writer.add_token_types([3] + [1] * 63)
        writer.add_token_merges(["a b", "Ġ ab"])
        writer.add_eos_token_id(0)
        writer.add_bos_token_id(0)
        writer.add_add_bos_token(False)
        writer.add_chat_template("{% for m in messages %}{{ m['content'] }}<|end|>{% endfor %}")


def model(name):
    arch, config = CONFIGS[name]
    torch.manual_seed(len(name))
    net = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for key, value in net.named_parameters():
            value.copy_(torch.randn_like(value) * (0.3 if value.dim() > 1 else 0.1) + (0 if value.dim() > 1 or "bias" in key or name == "gemma" else 1))
    writer = gguf.GGUFWriter(os.path.join(HERE, "models", f"{name}.gguf"), gguf.MODEL_ARCH_NAMES[arch])
    gpt2 = name == "gpt2"
    width, heads, layers = config.hidden_size, config.num_attention_heads, config.num_hidden_layers
    writer.add_type("model")
    writer.add_name(name)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(4 * width if gpt2 else config.intermediate_size)
    writer.add_head_count(heads)
    if gpt2:
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        rope = config.rope_parameters
        writer.add_rope_freq_base(rope["rope_theta"])
        head = getattr(config, "head_dim", None) or width // heads
        if head != width // heads:
            writer.add_key_length(head)
            writer.add_value_length(head)
        if name == "llama3":
            base, factor = rope["rope_theta"], rope["factor"]
            freqs = 1.0 / (base ** (torch.arange(0, head, 2, dtype=torch.float32) / head))
            low, high = 8192 / 1.0, 8192 / 4.0
            factors = []
            for freq in freqs:
                wavelen = 2 * np.pi / freq
                smooth = (8192 / wavelen - 1.0) / (4.0 - 1.0)
                factors.append(1 if wavelen < high else factor if wavelen > low else 1 / ((1 - smooth) / factor + smooth))
            writer.add_tensor("rope_freqs.weight", np.array(factors, np.float32))
    tokenizer(writer, name)
    names = gguf.get_tensor_name_map(arch, layers)
    kinds = [Q.F32, Q.F16, Q.BF16, Q.Q8_0]
    state, stored = net.state_dict(), 0
    for key, value in list(state.items()):
        if key == "lm_head.weight" and config.tie_word_embeddings or key.endswith((".attn.bias", ".masked_bias")):
            continue
        array = value.float().numpy()
        if name.startswith("llama") and ".q_proj." in key:
            array = permute(array, heads)
        if name.startswith("llama") and ".k_proj." in key:
            array = permute(array, config.num_key_value_heads)
        turned = gpt2 and key.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
        if turned:
            array = array.T
        if name == "gemma" and key.endswith("norm.weight"):
            array = array + 1
        kind = Q.F32
        if array.ndim == 2 and name in ("llama", "gpt2"):
            kind = kinds[stored % 4]
            stored += 1
            back = gguf.quants.dequantize(gguf.quants.quantize(np.ascontiguousarray(array), kind), kind).reshape(array.shape).astype(np.float32)
            if ".q_proj." in key or ".k_proj." in key:
                count = heads if ".q_proj." in key else config.num_key_value_heads
                back = back.reshape(count, back.shape[0] // count // 2, 2, -1).swapaxes(1, 2).reshape(back.shape)
            value.copy_(torch.from_numpy(np.array(back.T if turned else back)))
        writer.add_tensor(names.get_name(key, try_suffixes=(".weight", ".bias")), gguf.quants.quantize(np.ascontiguousarray(array), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ids = [[(7 * i + 3 * r) % 64 for i in range(12)] for r in range(2)]
    with torch.no_grad():
        logits = net(torch.tensor(ids)).logits
    return dict(ids=ids, last=[[round(float(x), 6) for x in row[-1]] for row in logits])


os.makedirs(os.path.join(HERE, "models"), exist_ok=True)
json.dump(blocks(), open(os.path.join(HERE, "blocks.json"), "w"), indent=1)
json.dump({name: model(name) for name in CONFIGS}, open(os.path.join(HERE, "models", "expected.json"), "w"), indent=1)
