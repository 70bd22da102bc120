"""More reference cases, of options that the shared ones lack, in the same form.

Usage: generate_cases.py GENERATE_LLM_PY OUT SEED [CASE...]; GENERATE_LLM_PY is the shared cases' own generator.
"""
import sys

generator, out, seed, *only = sys.argv[1:]
sys.argv = [generator, out, seed, *only]
source = open(generator).read()
head, tail = source.split("STEPS=6;B=2;S=24", 1)
head += """
def gpt2(**kw): return GPT2LMHeadModel(GPT2Config(**{**dict(vocab_size=V,n_embd=D,n_layer=L,n_head=H,n_positions=64,resid_pdrop=0,embd_pdrop=0,attn_pdrop=0,bos_token_id=2,eos_token_id=2),**kw}))
def tied(): return llama_like(LlamaConfig,LlamaForCausalLM,tie_word_embeddings=True)
def untied(): return llama_like(LlamaConfig,LlamaForCausalLM,tie_word_embeddings=False)
from peft import LoHaConfig,LoKrConfig
LORA=dict(task_type='CAUSAL_LM',r=4,lora_alpha=8)
CASES={
 'gpt2-bias-all':(gpt2,dict(**LORA,target_modules=['c_attn'],fan_in_fan_out=True,bias='all')),
 'gpt2-dora':(gpt2,dict(**LORA,target_modules=['c_attn','mlp.c_proj'],fan_in_fan_out=True,use_dora=True,use_rslora=True)),
 'gpt2-ia3':(gpt2,dict(_c=IA3Config,task_type='CAUSAL_LM',target_modules=['c_attn','mlp.c_proj'],feedforward_modules=['mlp.c_proj'],fan_in_fan_out=True)),
 'gpt2-prompt-tuning':(gpt2,dict(_c=PromptTuningConfig,task_type='CAUSAL_LM',num_virtual_tokens=3)),
 'gpt2-prefix-tuning':(gpt2,dict(_c=PrefixTuningConfig,task_type='CAUSAL_LM',num_virtual_tokens=5)),
 'llama-embedding-dora':(untied,dict(**LORA,target_modules=['embed_tokens','k_proj'],use_dora=True)),
 'llama-layers':(untied,dict(**LORA,target_modules=['q_proj','gate_proj'],layers_to_transform=[1],layers_pattern='layers',exclude_modules=['mlp.gate_proj'])),
 'llama-tied-modules-to-save':(tied,dict(**LORA,target_modules=['q_proj'],modules_to_save=['lm_head'])),
 'llama-tied-saved-embedding':(tied,dict(**LORA,target_modules=['q_proj'],modules_to_save=['embed_tokens'])),
 'llama-tied-embedding-lora':(tied,dict(**LORA,target_modules=['embed_tokens','q_proj'])),
 'llama-tied-head-lora':(tied,dict(**LORA,target_modules=['lm_head','q_proj'])),
 'llama-loha':(untied,dict(_c=LoHaConfig,task_type='CAUSAL_LM',r=3,alpha=5,target_modules=['q_proj','k_proj','down_proj'],rank_pattern={'k_proj':2})),
 'llama-lokr':(untied,dict(_c=LoKrConfig,task_type='CAUSAL_LM',r=2,alpha=3,target_modules=['q_proj','k_proj','down_proj'])),
 'llama-lokr-both':(tied,dict(_c=LoKrConfig,task_type='CAUSAL_LM',r=2,alpha=3,target_modules=['v_proj','up_proj'],decompose_both=True,decompose_factor=8)),
 'llama-tokens':(untied,dict(**LORA,target_modules=['q_proj'],trainable_token_indices=[3,5,9,11])),
 'llama-tied-tokens':(tied,dict(**LORA,target_modules=['q_proj'],trainable_token_indices={'embed_tokens':[3,5,9,11]})),
}
"""
# The update must not be zero, or its gradients are.
tail = tail.replace("if 'ia3_l' in n:", "if 'hada_w2_b' in n or 'lokr_w1' in n: p.copy_(torch.randn(p.shape,generator=g)*.2)\n            if 'ia3_l' in n:").replace("(LoraConfig,IA3Config)", "(LoraConfig,IA3Config,LoHaConfig,LoKrConfig)")
exec(head + "STEPS=6;B=2;S=24" + tail)
