"""Golden cases of the decoder families and rope scalings that the shared cases leave out.

Usage: python make_more.py OUT [SEED] [NAME ...]. Needs transformers 5.23, PEFT 0.21 and PyTorch 2.15.
A folder holds model/, adapter/, data.jsonl, case.json and expected.safetensors, as harness.ts reads them.
"""

import json
import random
import sys
from pathlib import Path

import peft
import torch
import transformers as tf
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

OUT = Path(sys.argv[1])
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 0
ONLY = sys.argv[3:]
BATCH, STEPS, SHORTEST, LONGEST = 2, 2, 9, 18
LAYERS = 2
WIDTH, HEADS, VOCABULARY = (16, 2, 40) if SEED == 0 else (48, 4, 61)  # seed 0 is committed: small
MANY = dict(num_attention_heads=4, num_key_value_heads=2)  # several heads of keys, too

QV = ["q_proj", "v_proj"]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def llama_like(config, model, **options):
    fields = dict(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=WIDTH + 8,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return lambda: model(config(**{**fields, **options}))


def neox_like(**options):
    fields = dict(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**{**fields, **options}))


def rope(**parameters):
    """A one-layer Llama whose rows are longer than its `max_position_embeddings` of 8."""
    return llama_like(
        tf.LlamaConfig,
        tf.LlamaForCausalLM,
        num_hidden_layers=1,
        hidden_size=16,
        intermediate_size=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=8,
        rope_parameters={"rope_theta": 100.0, **parameters},
    )


def phi3_long(original):
    """Rows longer than `original` take the long factors, others the short ones."""
    pairs = WIDTH // HEADS // 2
    return llama_like(
        tf.Phi3Config,
        tf.Phi3ForCausalLM,
        num_hidden_layers=1,
        original_max_position_embeddings=original,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0 + 0.1 * i for i in range(pairs)],
            "long_factor": [1.5 + i for i in range(pairs)],
        },
    )


# name: (model, target modules, further facts)
CASES = {
    "gemma": (llama_like(tf.GemmaConfig, tf.GemmaForCausalLM, head_dim=16), QV, {}),
    "gemma2": (
        llama_like(
            tf.Gemma2Config,
            tf.Gemma2ForCausalLM,
            **MANY,
            head_dim=8,
            sliding_window=6,
            query_pre_attn_scalar=24,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=3.0,
            attn_implementation="eager",  # the only one that caps scores
        ),
        ALL,
        {},
    ),
    "gemma3-ropes": (
        llama_like(
            tf.Gemma3TextConfig,
            tf.Gemma3ForCausalLM,
            head_dim=16,
            sliding_window=6,
            query_pre_attn_scalar=24,
            final_logit_softcapping=3.0,
            layer_types=["sliding_attention", "full_attention"],
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            },
        ),
        QV,
        {},
    ),
    "smollm3": (
        llama_like(tf.SmolLM3Config, tf.SmolLM3ForCausalLM, **MANY, no_rope_layer_interval=2, rope_theta=5000.0),
        QV,
        {},
    ),
    "olmo2": (llama_like(tf.Olmo2Config, tf.Olmo2ForCausalLM, **MANY), ALL, {}),
    "gpt-neox": (neox_like(rotary_pct=0.5), ["query_key_value"], {}),
    "gpt-neox-serial": (
        neox_like(use_parallel_residual=False, hidden_act="gelu_new"),
        ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
        {},
    ),
    "phi": (
        llama_like(tf.PhiConfig, tf.PhiForCausalLM, qk_layernorm=True),
        ["q_proj", "v_proj", "fc1", "fc2"],
        {},
    ),
    "qwen2-window": (
        llama_like(
            tf.Qwen2Config,
            tf.Qwen2ForCausalLM,
            use_sliding_window=True,
            sliding_window=5,
            max_window_layers=1,
        ),
        QV,
        {},
    ),
    "qwen2-seqcls": (
        llama_like(tf.Qwen2Config, tf.Qwen2ForSequenceClassification, num_labels=3),
        QV,
        {"task": "SEQ_CLS"},
    ),
    "phi3-longrope-long": (phi3_long(8), ["qkv_proj", "gate_up_proj"], {}),
    "phi3-longrope-short": (phi3_long(32), ["qkv_proj"], {}),
    "phi3-partial": (
        llama_like(
            tf.Phi3Config,
            tf.Phi3ForCausalLM,
            num_hidden_layers=1,
            partial_rotary_factor=0.5,
            sliding_window=7,
        ),
        ["qkv_proj"],
        {},
    ),
    "rope-linear": (rope(rope_type="linear", factor=3.0), QV, {}),
    "rope-dynamic": (rope(rope_type="dynamic", factor=3.0), QV, {}),
    "rope-yarn": (
        rope(rope_type="yarn", factor=2.0, original_max_position_embeddings=4, beta_fast=2.0, beta_slow=0.05),
        QV,
        {},
    ),
    "rope-llama3": (
        rope(
            rope_type="llama3",
            factor=4.0,
            low_freq_factor=0.1,
            high_freq_factor=1.0,
            original_max_position_embeddings=7,
        ),
        QV,
        {},
    ),
}


def noisy(model, seed, deviation=0.08):
    """Every tensor away from its initial value, so that ones and zeros hide nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * deviation)
    return model.float().eval()


def make_rows(task, labels):
    rows = []
    for _ in range(BATCH * STEPS):
        ids = [random.randint(3, VOCABULARY - 1) for _ in range(random.randint(SHORTEST, LONGEST))]
        if task == "SEQ_CLS":
            rows.append({"input_ids": ids, "label": random.randrange(labels)})
        else:
            masked = random.randint(2, 6)
            rows.append({"input_ids": ids, "labels": [-100] * masked + ids[masked:]})
    return rows


def collate(rows):
    longest = max(len(row["input_ids"]) for row in rows)
    padded = lambda values, fill: values + [fill] * (longest - len(values))
    batch = {
        "input_ids": torch.tensor([padded(row["input_ids"], 0) for row in rows]),
        "attention_mask": torch.tensor([padded([1] * len(row["input_ids"]), 0) for row in rows]),
    }
    if "label" in rows[0]:
        return {**batch, "labels": torch.tensor([row["label"] for row in rows])}
    return {**batch, "labels": torch.tensor([padded(row["labels"], -100) for row in rows])}


def make(name, build, targets, task="CAUSAL_LM"):
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED * 1000 + len(name))
    random.seed(f"{name} {SEED}")
    model = noisy(build(), SEED + 17)
    model.save_pretrained(folder / "model")
    (folder / "model" / "generation_config.json").unlink(missing_ok=True)
    rows = make_rows(task, model.config.num_labels)
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    batch = collate(rows[:BATCH])

    expected = {}
    with torch.no_grad():
        expected["base.logits"] = model(**batch).logits.contiguous()
    adapted = get_peft_model(model, LoraConfig(task_type=task, r=3, lora_alpha=6, target_modules=targets))
    generator = torch.Generator().manual_seed(SEED + 5)
    with torch.no_grad():
        for key, parameter in adapted.named_parameters():
            if "lora_B" in key:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    adapted.eval()
    adapted.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    output = adapted(**batch)
    output.loss.backward()
    expected["adapter.logits"] = output.logits.detach().contiguous()
    expected["adapter.loss"] = output.loss.detach().reshape(1)
    trainable = [(key, parameter) for key, parameter in adapted.named_parameters() if parameter.requires_grad]
    for key, parameter in trainable:
        if parameter.grad is not None:
            expected["grad." + key.replace(".default", "")] = parameter.grad.clone().contiguous()
    adapted.zero_grad()

    optimizer = dict(name="adamw", lr=5e-3, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.01)
    parameters = [parameter for _, parameter in trainable]
    adamw = torch.optim.AdamW(parameters, **{key: value for key, value in optimizer.items() if key != "name"})
    losses, norms = [], []
    for step in range(STEPS):
        output = adapted(**collate(rows[step * BATCH : (step + 1) * BATCH]))
        output.loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, 1.0)))
        losses.append(output.loss.item())
        adamw.step()
        adamw.zero_grad()
    save_file(expected, folder / "expected.safetensors")
    facts = dict(
        name=name,
        task=task,
        peft=peft.__version__,
        transformers=tf.__version__,
        batch_size=BATCH,
        steps=STEPS,
        optimizer={**optimizer, "max_grad_norm": 1.0, "schedule": "constant"},
        losses=losses,
        grad_norms=norms,
        trainable=sum(parameter.numel() for parameter in parameters),
    )
    (folder / "case.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(name, losses, flush=True)


if __name__ == "__main__":
    tf.logging.set_verbosity_error()
    for name, (build, targets, facts) in CASES.items():
        if not ONLY or name in ONLY:
            make(name, build, targets, **facts)
