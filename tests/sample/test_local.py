"""A local model: one batched generation says what one by one would have said."""

import threading

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from invent_chain import InvEntropy
from invent_chain.errors import AskError, ConfigurationError
from invent_chain.sample import LocalAsk
from invent_chain.sample import generate as generation
from invent_chain.types import Sampling

WORDS = ["<end>", *(f"w{k}" for k in range(59)), "Where", "is", "Palau", "Koror", "?", "."]
PREFIX = " ".join(f"w{k}" for k in range(40))
QUESTIONS = ["Where is Palau ?", "Where is Koror .", "Where ?", "Palau is Koror is Palau is Where ?"]


@pytest.fixture(scope="module")
def tokenizer():
    return made_tokenizer()


def made_tokenizer():
    made = Tokenizer(models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>")


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            eos_token_id=0,
            bos_token_id=None,
        )
        return LlamaForCausalLM(config).eval()


@pytest.fixture
def ask(model, tokenizer):
    return LocalAsk(model, tokenizer=tokenizer, template=f"{PREFIX} {{question}}", max_tokens=12, seed=0)


def alone(model, tokenizer, question):
    """What transformers itself generates for one prompt, greedily."""
    ids = torch.tensor([tokenizer(f"{PREFIX} {question}")["input_ids"]])
    out = model.generate(ids, do_sample=False, max_new_tokens=12, pad_token_id=0, attention_mask=torch.ones_like(ids))
    return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.anyio
@pytest.mark.parametrize("batch_size", [1, 2, 64])
async def test_greedy_tokens_are_those_of_one_by_one(ask, model, tokenizer, batch_size):
    asked = LocalAsk(
        model, tokenizer=tokenizer, template=f"{PREFIX} {{question}}", max_tokens=12, batch_size=batch_size
    )
    replies = await asked.ask_many([(q, 2) for q in QUESTIONS], sampling=Sampling(temperature=0.0))
    assert [r.texts for r in replies] == [(alone(model, tokenizer, q),) * 2 for q in QUESTIONS]
    assert replies[0].prompt_tokens == 44
    assert len({text for r in replies for text in r.texts}) > 1


@pytest.mark.anyio
async def test_rows_that_end_early_leave_the_batch(model, tokenizer):
    """With an end token that greedy decoding hits at different lengths, the others go on as alone."""
    first = alone(model, tokenizer, QUESTIONS[0]).split()
    other = LocalAsk(model, tokenizer=tokenizer, template=f"{PREFIX} {{question}}", max_tokens=12)
    end = WORDS.index(first[3])
    before = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = end
    try:
        replies = await other.ask_many([(q, 1) for q in QUESTIONS], sampling=Sampling(temperature=0.0))
        assert [r.texts[0] for r in replies] == [
            " ".join(alone(model, tokenizer, q).split(WORDS[end])[0].split()) for q in QUESTIONS
        ]
        lengths = {r.completion_tokens for r in replies}
    finally:
        model.generation_config.eos_token_id = before
    assert len(lengths) > 1


@pytest.mark.anyio
async def test_sampling_follows_the_models_distribution(model, tokenizer):
    """First tokens of many samples against the softmax of one forward pass; a chi-square within its 0.1 % bound."""
    question, heat, count = QUESTIONS[1], 0.7, 3000
    one = LocalAsk(model, tokenizer=tokenizer, template=f"{PREFIX} {{question}}", max_tokens=1, seed=5, batch_size=500)
    replies = await one.ask_many([(QUESTIONS[3], 1), (question, count)], sampling=Sampling(temperature=heat))
    ids = torch.tensor([tokenizer(f"{PREFIX} {question}")["input_ids"]])
    with torch.inference_mode():
        expected = (model(ids).logits[0, -1] / heat).softmax(-1).numpy()
    place = {word: k for k, word in enumerate(WORDS)}
    seen = np.bincount([place[text] if text else 0 for text in replies[1].texts], minlength=len(WORDS))
    frequent = expected * count >= 5
    statistic = float(((seen - expected * count) ** 2 / (expected * count))[frequent].sum())
    degrees = int(frequent.sum())
    assert degrees > 20
    assert statistic < degrees + 3.5 * np.sqrt(2 * degrees)


@pytest.mark.anyio
async def test_a_seed_repeats_and_torchs_own_state_is_left_alone(ask, model, tokenizer):
    state = torch.random.get_rng_state()
    first, second = [await ask.ask(QUESTIONS[0], n=6, sampling=Sampling(temperature=1.0)) for _ in range(2)]
    twin = LocalAsk(model, tokenizer=tokenizer, template=f"{PREFIX} {{question}}", max_tokens=12, seed=0)
    again = [await twin.ask(QUESTIONS[0], n=6, sampling=Sampling(temperature=1.0)) for _ in range(2)]
    assert [first, second] == again
    assert len({*first.texts, *second.texts}) == 12  # no generation repeats what another one drew
    assert torch.equal(state, torch.random.get_rng_state())
    free = LocalAsk(model, tokenizer=tokenizer, max_tokens=12)
    one, other = [await free.ask(QUESTIONS[0], n=6, sampling=Sampling(temperature=1.0)) for _ in range(2)]
    assert one != other


@pytest.mark.anyio
async def test_batches_shrink_where_memory_does_not_suffice(ask, model, tokenizer, monkeypatch):
    real, sizes = generation._batch, []

    def tight(model, rows, *args, **kwargs):
        sizes.append(len(rows))
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(model, rows, *args, **kwargs)

    monkeypatch.setattr(generation, "_batch", tight)
    replies = await ask.ask_many([(q, 4) for q in QUESTIONS], sampling=Sampling(temperature=0.0))
    assert [r.texts for r in replies] == [(alone(model, tokenizer, q),) * 4 for q in QUESTIONS]
    assert sizes[:4] == [16, 8, 4, 2]

    def none(model, rows, *args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr(generation, "_batch", none)
    with pytest.raises(AskError, match="lower max_tokens"):
        await ask.ask(QUESTIONS[0], n=4, sampling=Sampling())


@pytest.mark.anyio
async def test_it_loads_from_a_folder_by_its_real_path(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = LocalAsk(tmp_path, template=f"{PREFIX} {{question}}", device="cpu", max_tokens=12)
    reply = await loaded.ask(QUESTIONS[0], n=1, sampling=Sampling(temperature=0.0))
    assert reply.texts[0] == alone(model, tokenizer, QUESTIONS[0])
    assert loaded.name == tmp_path.name
    assert loaded.identity
    with pytest.raises(AskError, match=r"could not be loaded .*check .*device"):
        await LocalAsk(tmp_path, device="no such device").ask("q", n=1, sampling=Sampling())
    with pytest.raises(AskError, match="could not be loaded"):
        await LocalAsk(tmp_path / "absent").ask("q", n=1, sampling=Sampling())


def test_a_chat_template_and_the_system_prompt_are_used(model, tokenizer):
    chat = made_tokenizer()
    chat.chat_template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}w9"
    ask = LocalAsk(model, tokenizer=chat, system="w5 w6")
    ask._ensure_loaded()
    seen = chat.convert_ids_to_tokens(ask._tokens("Where is Palau ?"))
    assert seen[1:3] == ["w5", "w6"]
    assert seen[-1] == "w9"
    assert ask.prompt != LocalAsk(model, tokenizer=chat).prompt


def test_only_what_tells_a_model_from_others_is_its_identity(model, tokenizer):
    """Two loaded models may look alike, so their answers are not cached unless they are named."""
    assert LocalAsk(model, tokenizer=tokenizer).identity == ""
    assert LocalAsk("folder", tokenizer=tokenizer).identity == ""
    known = [
        LocalAsk(model, tokenizer=tokenizer, name="mine"),
        LocalAsk("folder"),
        LocalAsk("other/folder"),
        LocalAsk("folder", tokenizer="other"),
        LocalAsk("folder", load={"gguf_file": "a.gguf"}),
        LocalAsk("folder", load={"gguf_file": "b.gguf"}),
        LocalAsk("folder", system="Be brief."),
        LocalAsk("folder", max_tokens=5),
    ]
    assert len({ask.identity for ask in known} - {""}) == len(known)
    assert LocalAsk("folder", seed=1).identity == LocalAsk("folder", seed=2, batch_size=1).identity


def test_a_score_takes_one_generation(ask):
    report = InvEntropy(ask, n=3, r=2, seed=1).score("Where is Palau ?", answer="Koror")
    assert report.usage.requests == 1
    assert len(report.siblings[0].answers) == 2
    assert report.fingerprint.prompt


def test_generations_of_several_threads_take_turns(ask):
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(InvEntropy(ask, n=2, r=2).score("Where is Palau ?", answer="Koror"))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.status for report in found] == ["ok"] * 3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"template": "no place"}, "no place for the question"),
        ({"template": 3}, "template=3 has no place"),
        ({"system": 4}, "system must be a text"),
        ({"dtype": "float99"}, "dtype='float99': choose 'float32'"),
        ({"load": "model.gguf"}, "load is a str"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"seed": -1}, "seed=-1"),
        ({"device": "cpu"}, "a loaded model stays as it is"),
        ({"tokenizer": None}, "needs its tokenizer"),
    ],
)
def test_bad_settings(model, tokenizer, settings, says):
    with pytest.raises(ConfigurationError, match=says):
        LocalAsk(model, **{"tokenizer": tokenizer, **settings})
    with pytest.raises(ConfigurationError, match="name is empty"):
        LocalAsk(" ")
    with pytest.raises(ConfigurationError, match="model is a int"):
        LocalAsk(3, tokenizer=tokenizer)
