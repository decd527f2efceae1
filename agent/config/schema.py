"""The configuration of a run: one frozen, serialisable value.

Each field is documented once, by the text under it; `gaptutor init` writes that text into the file it makes and error messages
quote it. Secrets never stand here: fields ending in `_env` name an environment variable.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from agent.config.addresses import refuse_secrets
from agent.config.prices import Price, find_price
from retrieval.index.vector_store import server_address

#: Name of an environment variable. Anything else may be the secret itself, which must not be written down.
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


#: GPUs as CUDA_VISIBLE_DEVICES names them; a single number is read as one, too.
Gpus = Annotated[str, Field(pattern=r"^[A-Za-z0-9/-]+(,[A-Za-z0-9/-]+)*$", coerce_numbers_to_str=True)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values cannot change."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DataConfig(Section):
    """The validation set."""

    validation: Path
    """JSONL, JSON, CSV or Parquet with image, question, answer and optional id and choices; or LLaVA / `messages` JSON."""
    holdout: Path | None = None
    """Items that are never diagnosed, in the same formats. If empty, `holdout_share` of the validation set is kept apart."""
    holdout_share: float = Field(0.3, ge=0, lt=1)
    """Share of the validation set kept as holdout when it has at least 300 items; below that there is none, with a warning."""
    images: Path | None = None
    """Folder that image paths are relative to; if empty, the folder of the file that names them."""
    images_anywhere: bool = False
    """Read images outside that folder too. What is read is shown to the teacher, so look at what the file names first."""
    answers: Literal["auto", "letter", "text", "index"] = "auto"
    """What a digit is as the gold answer of an item with choices: the number of a letter (1 is A), the text of a choice, or its
    place (0 is the first). `auto` reads what is plain, and says so where it is not."""
    scorer: str = "auto"
    """How an answer is compared with the gold answer: auto, exact, choice, number, any_of, vqa, teacher, or MODULE:FUNCTION."""
    tolerance: float = Field(1e-3, ge=0)
    """Relative tolerance of the `number` scorer."""
    limit: int | None = Field(None, ge=1)
    """Use only the first so many items of each set (for a trial)."""


class PoolConfig(Section):
    """The task-agnostic pool."""

    path: Path
    """Pool of training samples: LLaVA or ShareGPT JSON, `messages`+`images` JSONL, or plain JSONL/CSV/Parquet."""
    images: Path | None = None
    """Folder that the pool's image paths are relative to; if empty, the folder of the file that names them."""
    images_anywhere: bool = False
    """Read images outside that folder too. What is read is shown to the teacher, so look at what the file names first."""
    store: Path | None = None
    """Where the imported pool, its skills and its index are kept, to be shared by runs; if empty, `pools/` beside the run."""
    limit: int | None = Field(None, ge=1)
    """Use only so many samples of the pool, drawn at random."""
    embedder: str = "all-MiniLM-L6-v2"
    """sentence-transformers model that compares skills and questions; the default is packaged and needs no network."""
    chroma_url: str | None = None
    """Address of a Chroma server to use instead of a folder of our own, for instance http://127.0.0.1:8000."""

    @model_validator(mode="after")
    def _no_secret_in_address(self) -> Self:
        refuse_secrets("pool.chroma_url", self.chroma_url or "")
        if self.chroma_url is not None:
            server_address(self.chroma_url)
        return self


class VllmConfig(Section):
    """The student on vLLM (`student.engine: vllm`): a server started for the run that ends with it, or the one at `url`."""

    url: str | None = None
    """Address of a vLLM server of your own on the student's model, started with --enable-lora and
    VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, that reads the run folder under the same path; if empty, one is started here."""
    api_key_env: Variable | None = None
    """Environment variable that holds the key of the server at `url`, if it has one."""
    python: Path | None = None
    """Python of the environment that vLLM is installed in, or its name on PATH; if empty, the one that runs gaptutor."""
    args: tuple[str, ...] = ()
    """Further options of `vllm serve`, for instance [--enforce-eager]."""
    port: int | None = Field(None, ge=1, le=65535)
    """Port on 127.0.0.1 that our server listens on; if empty, a free one."""
    sharing: Literal["restart", "sleep", "shared"] = "restart"
    """What our server does while an adapter is tuned: end and start again; sleep with its weights in main memory (quicker); or
    stay up, where there is room for both. One at `url` stays up."""
    serve: Literal["auto", "adapter", "merged"] = "auto"
    """A tuned student is served as an adapter on the base model, or as merged weights, for which the server starts again;
    `auto`: as an adapter where vLLM takes one for the student's family (docs/families.md)."""
    gpu_memory: float = Field(0.85, gt=0, le=1)
    """Share of the GPU's memory that our server takes."""
    gpus: Gpus | None = None
    """GPUs that our server sees, as in CUDA_VISIBLE_DEVICES (`0`, or `0,1`); if empty, all that gaptutor sees. It takes the
    first, unless `args` spread the student over several."""
    max_length: int | None = Field(None, ge=64)
    """Most tokens of prompt, images and answer together; if empty, what the items need."""
    concurrency: int = Field(64, ge=1)
    """Requests under way at one time."""
    timeout: float = Field(300.0, gt=0)
    """Seconds without an answer after which the server is asked whether it is alive."""
    start_timeout: float = Field(900.0, gt=0)
    """Seconds that our server gets to load the model."""

    @model_validator(mode="after")
    def _no_secret_in_address(self) -> Self:
        refuse_secrets("student.vllm.url", self.url or "")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError("student.vllm.url begins with http:// or https://")
        return self

    @field_validator("sharing", mode="before")
    @classmethod
    def _remote_is_an_address(cls, value: Any) -> Any:
        if value == "remote":
            raise ValueError(
                "a server elsewhere is named by its address, student.vllm.url; leave student.vllm.sharing out then"
            )
        return value

    @model_validator(mode="after")
    def _ours_or_theirs(self) -> Self:
        if self.url is not None and self.serve == "merged":
            raise ValueError(
                "a server at student.vllm.url cannot be started on merged weights; leave student.vllm.serve at auto"
            )
        if self.url is None and self.api_key_env is not None:
            raise ValueError("student.vllm.api_key_env is the key of the server at student.vllm.url, which is empty")
        return self


class StudentConfig(Section):
    """The model to be adapted."""

    model: str
    """Folder (or hub name) of the vision-language model."""
    engine: Literal["auto", "embedded", "vllm"] = "auto"
    """What runs the student: `vllm`, or `embedded` (transformers in this process); `auto` is vllm where there is a GPU and vLLM
    is installed, or where `vllm.url` names a server."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the weights when answering; `auto` takes bfloat16 where the machine is quick at it."""
    image_pixels: int | None = Field(None, ge=1024)
    """Scale images down to so many pixels for the student, wherever it sees them: answering, scoring, tuning. A photo of 12
    megapixels may become more tokens than `tuning.max_length`; 1000000 is plenty for most questions."""
    batch_size: int = Field(128, ge=1)
    """Items answered together by the embedded engine."""
    max_new_tokens: int = Field(512, ge=1)
    """Longest answer, in tokens."""
    max_unreadable: float = Field(0.5, ge=0, le=1)
    """Share of the student's first answers that may give no final answer; with more, the run stops before its teacher is paid
    for anything: the prompt is wrong, or answers are cut off."""
    rationale_prompt: str = (
        "{question}\nThink in numbered steps, one a line, each beginning with `Step N:`. "
        "Then give the final answer on a last line beginning with `Answer:`."
    )
    """Prompt that asks for numbered steps, then `Answer:`; {question} is filled in, choices included."""
    direct_prompt: str = "{question}\nAnswer briefly, without explanation."
    """Prompt under which answers without steps are trained."""
    trust_remote_code: bool = False
    """Run code that comes with the model. Leave it off unless you have read that code."""
    vllm: VllmConfig = VllmConfig()

    @model_validator(mode="after")
    def _question_in_prompts(self) -> Self:
        for name in ("rationale_prompt", "direct_prompt"):
            if "{question}" not in getattr(self, name):
                raise ValueError(f"student.{name} must contain {{question}}")
        return self


class TeacherConfig(Section):
    """The stronger model behind an OpenAI-compatible API."""

    model: str
    """Name of the teacher model."""
    base_url: str = "https://api.openai.com/v1"
    """Address of the OpenAI-compatible endpoint."""
    app: str | None = None
    """MODULE:ATTRIBUTE of an ASGI application to talk to in this process instead of `base_url` (no port is opened)."""
    api_key_env: Variable = "OPENAI_API_KEY"
    """Environment variable that holds the key. The key itself is never written anywhere."""
    concurrency: int = Field(16, ge=1)
    """Requests under way at one time."""
    timeout: float = Field(120.0, gt=0)
    """Seconds until a request counts as lost and is tried again, once."""
    retries: int = Field(6, ge=0)
    """Times a request is tried again after a rate limit or an outage, waiting longer each time."""
    outage_minutes: float = Field(60.0, ge=0)
    """Minutes that the run waits for a teacher that has answered before and is away, until it stops."""
    batch: bool = False
    """Put what can wait (skills of pool and right answers, diagnoses, verdicts) to the teacher in batches, at half the price;
    each comes back within a day, mostly within hours. The endpoint must have OpenAI's Batch API."""
    batch_poll_minutes: float = Field(1.0, gt=0)
    """Minutes between two looks at a batch."""
    batch_hours: float = Field(26.0, gt=0)
    """Hours that the run waits for a batch, until it stops; the batch goes on, and the run finds it again."""
    max_tokens: int = Field(2048, ge=16)
    """Longest reply, in tokens, those of its reasoning included: 8192 or more for a model that reasons."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    """How long a model that reasons does so before it replies, sent as it is; if empty, nothing is sent."""
    image_size: int | None = Field(None, ge=16, le=4096)
    """Longest side (pixels) of the images that are sent, larger ones are scaled down; if empty, as they are (up to 4096)."""
    prompts: Path | None = None
    """Folder of prompts of your own: each replaces ours of the same name (`gaptutor prompts DIR` writes ours down)."""
    see_images: bool = True
    """Send images; whether the teacher takes them is seen at the start. If not, the teacher is told how many belong to a question
    that it does not see."""
    price_in: float | None = Field(None, ge=0)
    """US dollars per million prompt tokens; if empty, as noted down for this model (docs/teacher.md), or unknown."""
    price_out: float | None = Field(None, ge=0)
    """US dollars per million reply tokens; if empty, as noted down for this model, or unknown."""
    price_batch: float | None = Field(None, ge=0, le=1)
    """Share of these prices that a request in a batch costs; if empty, as noted down for this model, or half."""
    budget_usd: float | None = Field(None, ge=0)
    """US dollars that the teacher may cost over the whole run, with what the run pays for the pool's skills; it stops before a
    request that could cost more, and goes on under a higher budget. If empty, there is no end."""

    @model_validator(mode="after")
    def _no_secret_in_address(self) -> Self:
        refuse_secrets("teacher.base_url", self.base_url)
        return self

    @model_validator(mode="after")
    def _budget_has_price(self) -> Self:
        if self.budget_usd is not None and self.price is None:
            raise ValueError(
                f"teacher.budget_usd cannot be kept, since the price of {self.model} is not known; "
                "give teacher.price_in and teacher.price_out"
            )
        return self

    @property
    def price(self) -> Price | None:
        """What the teacher charges, None if that is not known. One in this process charges nothing unless it is said
        to."""
        return find_price(self.model, self.price_in, self.price_out, self.price_batch, free=self.app is not None)


class DiagnosisConfig(Section):
    """How wrong steps are found and gaps are named."""

    locator: Literal["single_pass", "answer_switch", "per_step", "random_step"] = "single_pass"
    """What finds the wrong step. `single_pass`: the teacher, in one reply. `answer_switch`: where a judge's probabilities turn
    to the wrong answer. `per_step`: the teacher, asked about one step at a time. `random_step`: chance, for comparison."""
    judge: Literal["student", "teacher"] = "student"
    """answer_switch: whose probabilities. `student` sees the image and costs no requests; `teacher` does not see it, and its
    endpoint must give log-probabilities."""
    delta: float = Field(0.1, ge=0, le=1)
    """answer_switch: least lead (probability) of the wrong answer over the gold one from the mistaken step on."""
    window: int = Field(1, ge=0)
    """answer_switch: steps after the mistaken one over which that lead must last (lambda in the paper)."""
    max_errors: int | None = Field(None, ge=1)
    """Diagnose at most so many errors a round, drawn at random; all of them if empty."""
    right_answers: int = Field(48, ge=0)
    """Right answers whose skills are named each round, to know the gaps' siblings."""
    per_request: int = Field(16, ge=1, le=16)
    """Samples or right answers whose skills are named in one request."""


class SelectionConfig(Section):
    """Which samples of the pool a round fetches. Defaults are ours, chosen on validation data of the micro-world."""

    budget: int = Field(1000, ge=1)
    """Samples added by each round."""
    gaps: float = Field(0.65, ge=0)
    """Share of the budget for the missing skills."""
    siblings: float = Field(0.1, ge=0)
    """Share for skills of the task that the student has and that are close to the gaps."""
    rehearsal: float = Field(0.25, ge=0)
    """Share drawn at random from the whole pool."""
    search: Literal["fused", "bm25", "dense"] = "dense"
    """How skills are looked up: embeddings (of names not seen before they propose the most that match), BM25, or both fused by
    reciprocal rank."""

    @model_validator(mode="after")
    def _shares_positive(self) -> Self:
        if self.gaps + self.siblings + self.rehearsal <= 0:
            raise ValueError("selection.gaps, .siblings and .rehearsal are all 0; at least one must be positive")
        return self


class TuningConfig(Section):
    """How the adapter is tuned."""

    rank: int = Field(32, ge=1)
    """LoRA rank."""
    alpha: int = Field(64, ge=1)
    """LoRA alpha; updates are scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """LoRA dropout."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the selection."""
    learning_rate: float = Field(2e-4, gt=0)
    """Peak learning rate; warm-up, then cosine."""
    warmup: float = Field(0.03, ge=0, lt=1)
    """Share of the steps spent warming up."""
    batch_size: int = Field(16, ge=1)
    """Samples per optimiser step, over all devices."""
    micro_batch_size: int | None = Field(None, ge=1)
    """Samples per device at one time; if empty, the whole batch, halved when memory runs out."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the forward pass (the adapter itself is float32); `auto` takes bfloat16 where the machine is quick at it."""
    max_length: int = Field(2048, ge=16)
    """Longest sample, in tokens with those of its images; longer ones are set aside and counted."""
    checkpoint_minutes: float = Field(5.0, gt=0)
    """Minutes between checkpoints from which a killed tuning goes on."""
    processes: int = Field(1, ge=1)
    """Processes (GPUs) that accelerate starts."""
    gpus: Gpus | None = None
    """GPUs that tuning sees, as in CUDA_VISIBLE_DEVICES (`1`, or `1,2`), one for each process, the first ones; if empty, all that
    gaptutor sees."""

    @model_validator(mode="after")
    def _a_gpu_for_each_process(self) -> Self:
        named = self.gpus.split(",") if self.gpus else []
        if named and len(named) < self.processes:
            raise ValueError(f"tuning.processes is {self.processes}, but tuning.gpus names {len(named)}")
        return self


class RunConfig(Section):
    """A whole run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the run; its folder is `runs/NAME` unless --run-dir says otherwise."""
    seed: int = Field(0, ge=0)
    """Seed of everything that is drawn."""
    max_rounds: int = Field(5, ge=1)
    """Most rounds of diagnosing and tuning."""
    patience: int = Field(2, ge=1)
    """Rounds without a significant gain after which the run stops."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Chance that a run without any true gain claims one; each round is tested at alpha / patience."""
    error_budget: float = Field(0.05, ge=0, le=1)
    """Share of items (or of teacher requests in a step) that may be set aside before the run stops; of answers and requests,
    three may be in any case, if they are not more than half. 0: none."""
    control: Literal["off", "kept", "every"] | Annotated[int, Field(ge=1)] = "kept"
    """Random samples of the same number, tuned the same way: for no round, for the kept round at the end, for every round, or for
    the kept round and the one of this number. A finished run gains the controls that it lacks when it is started again."""
    review: bool = False
    """Wait after each diagnosis until a person has looked at the gaps."""
    checkpoint_url_env: Variable | None = None
    """Environment variable that holds a postgresql:// address for the loop's checkpoints; if empty, SQLite in the run folder."""
    data: DataConfig
    pool: PoolConfig
    student: StudentConfig
    teacher: TeacherConfig
    diagnosis: DiagnosisConfig = DiagnosisConfig()
    selection: SelectionConfig = SelectionConfig()
    tuning: TuningConfig = TuningConfig()

    @field_validator("control", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        return "off" if value is False else value  # as `--set control=off` reads it
