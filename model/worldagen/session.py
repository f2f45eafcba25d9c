"""The running network: observations in, action chunks and expected pictures out, no work done twice.

Equal to evaluating the whole network twice per decision, as published, because
- a frame is encoded once: encoders see one picture at a time, so its tokens are kept until the window has slid past it;
- an instruction is encoded once, however often it comes back;
- units that would only be padding, prediction tokens that nobody reads, and the newest unit's own actions (which its
  action prediction may not see) are left out, the others keeping their positions;
- the world pass goes on from the keys and values of the action pass, adding only the chosen actions and the image tokens;
- pictures are painted only when they are asked for;
- what the next decision needs of the past can be computed while the robot is still moving (`prepare`).

Legend: K units, n frames and m rows per unit, D token width.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from worldagen.adaptation.bank import AdapterBank
from worldagen.checkpoint import load_checkpoint
from worldagen.conventions import decode_actions
from worldagen.disturbance import Disturbance
from worldagen.engines.encoder import Encoded, EncoderEngine, TorchEngine
from worldagen.errors import (
    AdaptationError,
    BadChunk,
    BadInstruction,
    BadObservation,
    ConfigError,
    EngineError,
    PredictionUnavailable,
)
from worldagen.history import (
    HISTORY_MODES,
    HistoryMode,
    past_chunks,
    sampled_frames,
    world_pass_extends_action_pass,
)
from worldagen.mixture.factors import LevelWeights, LoraFactors, read_factors
from worldagen.mixture.mixer import Mixer
from worldagen.mixture.stacked import Room
from worldagen.network.captured import CapturedBackbone, Recorder
from worldagen.network.config import VIEWS, find_preset
from worldagen.network.heads import join_patches
from worldagen.network.layout import CONTEXT_GROUPS, Group
from worldagen.network.lean import Attender, LeanBackbone, fits
from worldagen.network.worldagen import WorldAgen
from worldagen.policy_conventions import PolicyConventions, find_preset_conventions, state_numbers
from worldagen.preprocess import restore_image
from worldagen.scaling import PillowScaler, Scaler
from worldagen.types import ActionChunk, Observation

TEXTS_KEPT = 64  # instructions whose tokens are kept


@dataclass(frozen=True, eq=False)
class _Decision:
    """What the world model needs of the last decision.

    Its step t, the tokens its action pass left in memory (None since other weights are in place), and the n frames it saw,
    (n, 3, H, H) normalised: static, wrist.
    """

    step: int
    memory: Any
    seen: tuple[torch.Tensor, torch.Tensor]


class NetworkPolicy:
    """A Policy over a network. One thread owns it; `reset` comes before the first `act`."""

    def __init__(
        self,
        network: WorldAgen,
        conventions: PolicyConventions,
        history: HistoryMode = "aligned",
        encoder: EncoderEngine | None = None,
    ) -> None:
        """encoder: an engine of this network's encoder, None for the network itself; see `use_encoder`."""
        if history not in HISTORY_MODES:
            raise ConfigError(f"history is {history!r}; choose one of: {', '.join(HISTORY_MODES)}")
        self.network = network.eval()
        self._attender: Attender = LeanBackbone(network) if fits(network) else network
        self.conventions = conventions
        self.history: HistoryMode = history
        self._bank: AdapterBank | None = None  # made when it is first asked for: the base's digest takes a moment
        self._mixing: Mixer | None = None  # made when it is first asked for, too
        self._scaler: Scaler = PillowScaler(network.position.device)
        self._text: torch.Tensor | None = None  # (1, D) settled
        self._words = ""
        self._texts: OrderedDict[str, torch.Tensor] = OrderedDict()  # the last few instructions, newest last
        self._disturbance: Disturbance | None = None
        self.use_encoder(encoder)
        self._forget()

    def use_encoder(self, encoder: EncoderEngine | None) -> None:
        """Let an engine encode the pictures from the next observation on; None for the network itself.

        It knows the base's weights only: while an adapter is active that changes what is seen, the network itself encodes. It
        is used until it fails: then `encoder_fault` says why, and the network itself goes on.
        """
        self._encoder, self._encoder_fault = encoder, ""

    def use_scaler(self, scaler: Scaler) -> None:
        """Let another one make numbers of pictures from the next observation on. It must give them on the network's device."""
        self._scaler = scaler

    def use_plain_backbone(self) -> None:
        """Let transformers compute the backbone, as in training; for comparisons. Before the first `reset`, or after one."""
        self._use_attender(self.network)

    def use_lean_backbone(self) -> None:
        """The backbone as a session begins with; the plain one where there is no other for it."""
        self._use_attender(LeanBackbone(self.network) if fits(self.network) else self.network)

    def use_captured_backbone(self, record: Recorder) -> CapturedBackbone | None:
        """Let recorded work compute the backbone; it has to be rehearsed. None where there is no lean one to be recorded."""
        if not fits(self.network):
            return None
        captured = CapturedBackbone(self.network, record)
        self._use_attender(captured)
        return captured

    def _use_attender(self, attender: Attender) -> None:
        self._attender = attender
        if self._mixing is not None:
            self._mixing.move_to(attender)
        self._forget()

    @property
    def encoder_fault(self) -> str:
        """Why the engine is no longer used, "" while it is or where there is none."""
        return self._encoder_fault

    def reset(self, instruction: str, disturbance: Disturbance | None = None) -> None:
        """Forget the history and take up a new instruction. Raises BadInstruction, changing nothing, if it has no words.

        disturbance: noise on every chunk until the next reset; the disturbed chunk is the one remembered as executed.
        """
        if not isinstance(instruction, str) or not instruction.strip():
            raise BadInstruction(f"instruction is {instruction!r}; expected words, or 'no lang' for none")
        self._text, self._words = self._encode_text(instruction), instruction
        self._disturbance = disturbance
        self._forget()

    def act(self, observation: Observation, earlier: Sequence[Observation] = ()) -> ActionChunk:
        """Answer one observation.

        earlier: the m - 1 observations made since the last chunk before this one, oldest first. Only a network with more
            than one frame per unit needs them; its first decision does without.
        Raises BadObservation, or BadChunk for a network that gives no finite numbers, before the history changes, so that the
        next good observation works.
        """
        started_s = time.perf_counter()
        if self._text is None:
            raise BadInstruction("act was called before reset; expected an instruction first")
        chosen = self._choose(observation, earlier)
        with torch.inference_mode():
            seen = self._pictures_of(chosen)
            preprocessed_s = time.perf_counter()
            frames = self._encode(chosen, seen)
            encoded_s = time.perf_counter()
            numbers, memory = self._decide(frames)
            if self._disturbance is not None:
                numbers = self._as_executed(self._disturbance.applied(numbers, self._step))
            decision = _Decision(self._step, memory, seen)
            executed = self._encode_chunk(numbers)
        if not np.isfinite(numbers).all():
            raise BadChunk(f"decision {decision.step}: the network gives numbers that are not finite; its weights are broken")
        chunk = ActionChunk(
            stamp_ns=observation.stamp_ns,
            sequence=decision.step,
            period_s=self.conventions.actions.period_s,
            convention=self.conventions.actions.name,
            rows=decode_actions(self.conventions.actions, numbers, observation.state[3:6]),
            adapter=self.adapter,
            inference_s=time.perf_counter() - started_s,
            preprocess_s=preprocessed_s - started_s,
            encode_s=encoded_s - preprocessed_s,
        )
        # Nothing above has changed the history, and nothing below can fail.
        self._frames.append(frames)
        self._executed.append(executed)
        self._decision, self._pictures = decision, None
        self._step += 1
        return chunk

    @property
    def adapters(self) -> AdapterBank:
        """The adapters beside the base. What is active is changed by `use_adapter` and `use_mixture` only."""
        self._bank = self._bank or AdapterBank(self.network)
        return self._bank

    @property
    def adapter(self) -> str:
        """Id of the active adapter, "" for the base, "mixture" while adapters are mixed."""
        return self._bank.active if self._bank else ""

    def load_adapter(self, folder: Path, override: str = "") -> str:
        """Load an adapter's folder and make it active, between two decisions; returns its id.

        All of it is checked before a weight moves. override: why a rejected one may drive; recorded. Raises AdaptationError.
        """
        adapter = self.adapters.load(folder)
        self.adapters.keep(adapter)
        self.use_adapter(adapter.id, override)
        return adapter.id

    def use_adapter(self, name: str, override: str = "") -> None:
        """Make a loaded adapter active, or the base ("") again, exactly. Raises AdaptationError, changing nothing.

        The history stays where it is still valid; an adapter that changes what pictures, words or numbers become makes it void,
        and the next observation is then answered as a first one.
        """
        valid = self.adapters.activate(name, override)
        if self._mixing is not None:
            self._mixing.drop()
        self._take_up(valid)

    def read_factors(self, folder: Path) -> LoraFactors:
        """An adapter's folder, checked, for `use_mixture`. Raises AdaptationError, or BankError for one that is no LoRA."""
        return read_factors(folder, self.network.config, self.adapters.stored, self.adapters.digest)

    def use_mixture(self, factors: Mapping[str, LoraFactors], weights: LevelWeights, override: str = "") -> None:
        """Let a mixture of adapters drive in the place of what is active, between two decisions.

        weights: of each adapter, one for each of mixture.embedding.LEVELS, 0 to 1; a layer of the backbone takes those of its
        level. The share of the base ("base") may be among them and does nothing. The same LoraFactors with other weights cost
        next to nothing. The history stays.
        override: why rejected adapters may drive; recorded in their folders when they come in. Raises BankError or
        AdaptationError, changing nothing.
        """
        self._take_up(self._mixer().use(factors, weights, override))

    def drop_mixture(self) -> None:
        """The base again, exactly; nothing where no mixture drives."""
        if self._mixing is not None and self._mixing.mixed is not None:
            self.use_adapter("")

    def make_mixture_room(self, room: Room) -> None:
        """How many adapters may have a weight at once, and of which rank; before the first mixture, or between two decisions.

        Raises BankError, changing nothing, where what is mixed now does not fit.
        """
        self._mixer().make_room(room)

    def _mixer(self) -> Mixer:
        self._mixing = self._mixing or Mixer(self.network, self.adapters, self._attender, Room())
        return self._mixing

    def _take_up(self, valid: bool) -> None:
        """Other weights are in place. valid: whether what was kept of the past still is."""
        self._prepared = self._pictures = None
        if self._decision is not None:
            self._decision = replace(self._decision, memory=None)
        if not valid:
            self._texts.clear()
            self._forget()
            if self._text is not None:
                self._text = self._encode_text(self._words)

    def answer_as(self, name: str) -> np.ndarray:
        """What a loaded adapter, or the base (""), would have answered in the place of the last chunk: (m, 7) network actions.

        "mixture" is what is mixed now. Nobody acts on it, so whatever its gate said; the history stays. Raises AdaptationError
        for an adapter that changes what pictures, words or numbers become, and PredictionUnavailable before the first chunk.
        """
        if self._decision is None:
            raise PredictionUnavailable("there is nothing to compare before the first chunk")
        if self.history == "reference":
            raise AdaptationError("with the history 'reference' adapters cannot be compared; use 'aligned'")
        if name and self.adapters.changes_inputs(name):
            raise AdaptationError(f"adapter {name} changes what the network sees; it cannot be compared beside the base")
        kept = self._frames, self._executed, self._step, self._prepared
        *earlier, frames = self._frames
        try:
            self._frames = deque(earlier, self._frames.maxlen)
            self._executed = deque(list(self._executed)[:-1], self._executed.maxlen)
            self._step, self._prepared = self._decision.step, None
            with torch.inference_mode(), self._mixer().compared(name):
                return self._decide(frames)[0]
        finally:
            self._frames, self._executed, self._step, self._prepared = kept

    @property
    def can_predict(self) -> bool:
        """Whether `predict` has something to say."""
        return self.network.config.image_prediction and self._decision is not None

    def prepare(self) -> None:
        """Do now what the next decision needs of the past, so that it answers sooner; for the time while a chunk is played.

        Changes results by rounding only, yet two runs are equal bit for bit only if both do it at the same steps, or neither.
        """
        if self._text is None or self._prepared is not None:
            return
        newest = self._newest_unit(self._step)
        tokens, indices = self._past(newest, past_chunks(list(self._executed), newest, self.history))
        memory = self._attender.memory()
        if newest:
            with torch.inference_mode():
                self._attender.attend(tokens[None], indices, memory)
        self._prepared = memory

    def predict(self) -> dict[str, np.ndarray]:
        """The pictures expected once the last chunk has been played: {"static", "wrist"}, each (S, S, 3) uint8, upright.

        With n > 1 the newest frame is given. Raises PredictionUnavailable before the first chunk, or without image prediction.
        """
        newest = self.predict_pixels()[-1]
        return {view: restore_image(self.conventions.image, newest[place]) for place, view in enumerate(VIEWS)}

    def predict_pixels(self) -> np.ndarray:
        """As `predict`, all frames, in the network's normalised numbers: (n, 2, S, S, 3) float32, static view first."""
        if not self.network.config.image_prediction:
            raise PredictionUnavailable("this network was built without image prediction")
        if self._decision is None:
            raise PredictionUnavailable("there is no prediction before the first chunk")
        if self._pictures is None:
            with torch.inference_mode():
                canvas = self.network.canvas(*self._decision.seen)
                patches = self.network.paint(self._imagine(self._decision), None if canvas is None else canvas[None])[
                    0
                ]  # (n, 2, P, C)
            pictures = join_patches(patches.float(), self.network.config.image_head.patch).cpu().numpy()
            self._pictures = pictures
            return pictures
        return self._pictures

    def encode_all(self, observation: Observation | None = None) -> Encoded:
        """All that the encoder makes of an observation, its pooled outputs too; None: of the one that was answered last.

        Decides nothing and remembers nothing. Raises BadInstruction where nothing has been answered yet.
        """
        if observation is None and self._decision is None:
            raise BadInstruction("nothing has been answered yet; give the observation to be encoded")
        with torch.inference_mode():
            if observation is None:
                assert self._decision is not None
                static, wrist = (pictures[-1:] for pictures in self._decision.seen)
            else:
                static, wrist = self._pictures_of([observation])
            if self._encoder is not None:
                try:
                    return self._encoder.encode_all(static, wrist)
                except EngineError as error:
                    self._encoder, self._encoder_fault = None, f"{error}; torch computes the encoder from now on"
            return TorchEngine(self.network).encode_all(static, wrist)

    def _forget(self) -> None:
        units = self.network.config.units
        self._step = 0
        self._frames: deque[dict[Group, torch.Tensor]] = deque(maxlen=units)  # settled state, latent and cls tokens
        self._executed: deque[torch.Tensor] = deque(maxlen=units)  # (m, D) settled tokens of the chunks given
        self._decision: _Decision | None = None
        self._prepared: Any = None  # a memory of the backbone
        self._pictures: np.ndarray | None = None

    def _choose(self, observation: Observation, earlier: Sequence[Observation]) -> list[Observation]:
        """The n observations of the newest unit, oldest first."""
        for candidate in (*earlier, observation):
            if not isinstance(candidate, Observation):
                raise BadObservation(f"got a {type(candidate).__name__}; expected an Observation")
        frames, rows = self.network.config.frames, self.network.config.rows
        if frames == 1 or self._step == 0:
            return [observation] * frames
        if len(earlier) != rows - 1:
            raise BadObservation(f"got {len(earlier)} earlier observations; this network needs {rows - 1} before the newest")
        seen = [*earlier, observation]
        return [seen[index] for index in sampled_frames(frames, rows)]

    def _pictures_of(self, observations: Sequence[Observation]) -> tuple[torch.Tensor, torch.Tensor]:
        """n observations -> what the network sees of them: static and wrist pictures, (n, 3, H, H) normalised, float32.

        Whatever type the network is of: an engine of its encoder may be of a wider one.
        """
        scaling, sizes = self.conventions.image, self.network.config.vision
        return self._scaler.scale(
            scaling,
            ([seen.static_image for seen in observations], sizes.static_size),
            ([seen.wrist_image for seen in observations], sizes.wrist_size),
        )

    def _encode(
        self, observations: Sequence[Observation], pictures: tuple[torch.Tensor, torch.Tensor]
    ) -> dict[Group, torch.Tensor]:
        """n observations and their pictures -> settled tokens, group -> (count, D)."""
        network, conventions = self.network, self.conventions
        latents, cls = self._see(*pictures)
        states = network.state_encoder(self._tensor([state_numbers(conventions, seen.state) for seen in observations]))
        tokens = {Group.STATE: states, Group.LATENT: latents.flatten(0, 1), Group.CLS: cls.flatten(0, 1)}
        return {group: network.settle(token) for group, token in tokens.items()}

    def _see(self, static: torch.Tensor, wrist: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents and cls of n frames, by the engine where there is one that fits the weights in place."""
        if self._encoder is not None and not (self.adapter and self.adapters.changes_inputs(self.adapter)):
            try:
                latents, cls = self._encoder.encode(static, wrist)
                if not (latents.isfinite().all() and cls.isfinite().all()):
                    raise EngineError(f"{self._encoder.name} gives numbers that are not finite")
                return latents.to(self.network.position), cls.to(self.network.position)
            except EngineError as error:
                self._encoder, self._encoder_fault = None, f"{error}; torch computes the encoder from now on"
        return self.network.encode_frames(static, wrist)

    def _encode_chunk(self, numbers: np.ndarray) -> torch.Tensor:
        """(m, 7) network actions -> (m, D) settled tokens."""
        return self.network.settle(self.network.action_encoder(self._tensor(numbers)))

    def _decide(self, frames: dict[Group, torch.Tensor]) -> tuple[np.ndarray, Any]:
        """The action pass: tokens of the newest unit -> (m, 7) network actions, and what the backbone has read."""
        newest = self._newest_unit(self._step)
        prompts, places = self._prompts(newest, Group.ACTION_PREDICTION)
        own, own_places = self._own(newest, frames)
        tokens, indices = torch.cat([own, prompts]), np.concatenate([own_places, places])
        memory, self._prepared = self._prepared, None
        if memory is None:
            memory = self._attender.memory()
            past, past_places = self._past(newest, past_chunks(list(self._executed), newest, self.history))
            tokens, indices = torch.cat([past, tokens]), np.concatenate([past_places, indices])
        hidden = self._attender.attend(tokens[None], indices, memory)
        arm, gripper_logit = self.network.action_head(hidden[0, -len(prompts) :])
        return self._action_numbers(arm, gripper_logit), memory

    def _action_numbers(self, arm: torch.Tensor, gripper_logit: torch.Tensor) -> np.ndarray:
        """Outputs of the action head -> (m, 7): arm in (-1, 1), gripper -1 or +1; the first prediction step of each row."""
        steps = self.network.config.action_steps
        closed_or_open = torch.where(gripper_logit.sigmoid() > self.conventions.gripper_threshold, 1.0, -1.0)
        return self._as_executed(torch.cat([arm, closed_or_open[:, None].to(arm.dtype)], dim=1)[::steps].float().cpu().numpy())

    def _as_executed(self, numbers: np.ndarray) -> np.ndarray:
        """The published evaluation executes, and remembers, chunks in half precision."""
        return numbers.astype(np.float16).astype(np.float32) if self.history == "reference" else numbers

    def _imagine(self, decision: _Decision) -> torch.Tensor:
        """The world pass: outputs (1, n 2 tokens, D) of the newest unit's image-prediction tokens."""
        units = self.network.config.units
        newest = self._newest_unit(decision.step)
        prompts, places = self._prompts(newest, Group.IMAGE_PREDICTION)
        tokens = torch.cat([self._executed[-1], prompts])
        indices = np.concatenate([self._places(newest, [Group.ACTION]), places])
        memory = decision.memory
        if memory is None or not world_pass_extends_action_pass(decision.step, units, self.history):
            *_, frames = self._frames
            past, past_places = self._past(newest, list(self._executed)[:newest], skip_newest=True)
            own, own_places = self._own(newest, frames)
            tokens = torch.cat([past, own, tokens])
            indices = np.concatenate([past_places, own_places, indices])
            memory = self._attender.memory()
        return self._attender.attend(tokens[None], indices, memory)[:, -len(prompts) :]

    def _newest_unit(self, step: int) -> int:
        return min(step, self.network.config.units - 1)

    def _past(self, newest: int, chunks: Sequence[torch.Tensor], skip_newest: bool = False) -> tuple[torch.Tensor, np.ndarray]:
        """Context tokens of the units before the newest, (T, D), and their window indices, (T,).

        skip_newest: the newest unit's own frames are in the history already and are no past.
        """
        assert self._text is not None
        history = list(self._frames)[: -1 if skip_newest else None]
        pieces, places = [self._text[:0]], [self._places(0, [])]
        for unit, (frames, chunk) in enumerate(zip(history[len(history) - newest :], chunks, strict=True)):
            pieces += [self._text, frames[Group.STATE], chunk, frames[Group.LATENT], frames[Group.CLS]]
            places.append(self._places(unit, CONTEXT_GROUPS))
        return torch.cat(pieces), np.concatenate(places)

    def _own(self, newest: int, frames: dict[Group, torch.Tensor]) -> tuple[torch.Tensor, np.ndarray]:
        """Context tokens of the newest unit without its actions, and their window indices."""
        assert self._text is not None
        tokens = torch.cat([self._text, frames[Group.STATE], frames[Group.LATENT], frames[Group.CLS]])
        return tokens, self._places(newest, [group for group in CONTEXT_GROUPS if group is not Group.ACTION])

    def _prompts(self, newest: int, group: Group) -> tuple[torch.Tensor, np.ndarray]:
        """The newest unit's prediction tokens of a group, and their window indices."""
        return self.network.settle(self.network.prediction_tokens()[group]), self._places(newest, [group])

    def _places(self, unit: int, groups: Sequence[Group]) -> np.ndarray:
        """Window indices of those groups of a unit."""
        return self.network.layout.indices(unit, groups)

    def _encode_text(self, instruction: str) -> torch.Tensor:
        """An instruction -> its settled token (1, D), from the cache if it was given lately."""
        if instruction not in self._texts:
            with torch.inference_mode():
                self._texts[instruction] = self.network.settle(self.network.encode_text([instruction]))
            if len(self._texts) > TEXTS_KEPT:
                self._texts.popitem(last=False)
        self._texts.move_to_end(instruction)
        return self._texts[instruction]

    def _tensor(self, numbers: Sequence[np.ndarray] | np.ndarray) -> torch.Tensor:
        """numpy -> the network's device and type."""
        position = self.network.position
        return torch.from_numpy(np.asarray(numbers, dtype=np.float32)).to(position.device, position.dtype)


def load_policy(folder: Path, threads: int = 1, history: HistoryMode = "aligned") -> NetworkPolicy:
    """The policy of a checkpoint folder. threads: CPU threads of torch for the whole process. Raises CheckpointError."""
    torch.set_num_threads(threads)
    network, conventions = load_checkpoint(folder)
    return NetworkPolicy(network, conventions, history)


def make_policy(preset: str, seed: int = 0, threads: int = 1, history: HistoryMode = "aligned") -> NetworkPolicy:
    """A policy of that preset with random weights: the same seed gives the same chunks, bit for bit, in any process.

    threads: CPU threads of torch for the whole process; part of what makes two runs equal.
    """
    torch.set_num_threads(threads)
    return NetworkPolicy(make_random_network(preset, seed), find_preset_conventions(preset), history)


def make_random_network(preset: str, seed: int = 0) -> WorldAgen:
    """The network of that preset with random weights, the same with the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WorldAgen(find_preset(preset))
