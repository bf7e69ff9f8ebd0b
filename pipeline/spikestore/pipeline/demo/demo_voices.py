"""Words, voices and cochlea of the demo data: functions that draw one artificial recording.

1. A *word* is a sequence of sounds. Each sound has four resonances (three formants and a hiss) at places along the cochlea;
   between two sounds, the places move continuously. Twenty of the words form ten pairs, such as ``on`` and ``off``: the two
   words of a pair are mirror images in time. Both words have the same sum over time, so a network must use the order to
   distinguish them.
2. A *voice*, one per speaker, shifts and stretches the places of the resonances, and has a pitch, a tempo and a share of
   noise.
3. A recording of 0.8 to 1.2 s has one utterance of a word, at a random time, with random deviations and with background
   noise.
4. The utterance is a map of rates over (time, place), from which events are drawn. First, the sorted times of all events are
   drawn: their rate is the sum of the rates over all places, multiplied by the pulses of the pitch. Then a place is drawn for
   each event, from the rates at the time of the event.

The demo data must have the same bytes on every machine. Sums, products and quotients have the same results everywhere, but
``exp`` and ``log`` do not. Therefore resonances are squared Lorentz curves, and random factors are polynomials of normally
distributed random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["N_CHANNELS", "WORDS", "Recording", "Voice", "draw_recording", "draw_voice"]

N_CHANNELS = 700
"""Number of channels of the cochlea, as in SSC and SHD."""

WORDS: dict[str, str] = {
    "backward": "uri",
    "bed": "nen",
    "bird": "rer",
    "cat": "tas",
    "dog": "sat",
    "down": "ano",
    "eight": "eit",
    "five": "fai",
    "follow": "fou",
    "forward": "iru",
    "four": "for",
    "go": "ros",
    "happy": "era",
    "house": "aus",
    "learn": "uof",
    "left": "ift",
    "marvin": "ari",
    "nine": "nan",
    "no": "sei",
    "off": "aof",
    "on": "foa",
    "one": "uan",
    "right": "tfi",
    "seven": "sin",
    "sheila": "are",
    "six": "nis",
    "stop": "sor",
    "three": "fri",
    "tree": "tri",
    "two": "tu",
    "up": "ona",
    "visual": "iuo",
    "wow": "uau",
    "yes": "ies",
    "zero": "sio",
}
"""The 35 words of Speech Commands v2 in alphabetical order, each with its sounds; a label is the position in this order.

The sounds are not those of the real words. The two words of each of these pairs are mirror images in time: backward and
forward, cat and dog, follow and learn, go and stop, happy and sheila, left and right, no and yes, off and on, seven and
six, down and up.
"""


class _Sound(NamedTuple):
    """One sound: three formants and the hiss.

    Each of the four has a loudness, and a place from 0 (low end of the cochlea) to 1 (high end).
    """

    places: tuple[float, float, float, float]
    loudness: tuple[float, float, float, float]


_SOUNDS = {
    "i": _Sound((0.14, 0.62, 0.78, 0.90), (1.0, 0.8, 0.5, 0.0)),
    "e": _Sound((0.26, 0.55, 0.74, 0.90), (1.0, 0.8, 0.4, 0.0)),
    "a": _Sound((0.42, 0.52, 0.70, 0.90), (1.0, 0.9, 0.3, 0.0)),
    "o": _Sound((0.30, 0.40, 0.68, 0.90), (1.0, 0.9, 0.2, 0.0)),
    "u": _Sound((0.14, 0.30, 0.64, 0.90), (1.0, 0.7, 0.2, 0.0)),
    "r": _Sound((0.24, 0.42, 0.54, 0.90), (0.8, 0.7, 0.6, 0.0)),
    "n": _Sound((0.10, 0.48, 0.72, 0.90), (0.9, 0.3, 0.2, 0.0)),
    "s": _Sound((0.20, 0.60, 0.80, 0.92), (0.0, 0.1, 0.3, 1.0)),
    "f": _Sound((0.20, 0.50, 0.70, 0.78), (0.1, 0.1, 0.2, 0.8)),
    "t": _Sound((0.20, 0.55, 0.75, 0.86), (0.0, 0.2, 0.5, 0.9)),
}
_HISS = 3
_WIDTHS = (0.024, 0.030, 0.034, 0.085)
"""Distance from the centre of each resonance to the place where it has a quarter of its height, as a fraction of the
cochlea's length."""

_ROW = 0.005
"""Duration of one row of the rate map, in s."""
_STEPS_PER_ROW = 5
"""Number of time steps per row in which the pulses of the pitch are computed."""
_PLACES = 140
"""Number of columns of the rate map; each column has five neighbouring channels."""
_PLACE_AXIS = (np.arange(_PLACES) + 0.5) / _PLACES


@dataclass(frozen=True, slots=True)
class _Range:
    """Mean of a random quantity, and its standard deviation as a fraction of the mean."""

    mean: float
    spread: float

    def draw(self, z: float) -> float:
        """Return the value that is `z` standard deviations above the mean."""
        return self.mean * (1 + self.spread * z)


# Voices.
_STRETCH = _Range(1.0, 0.075)
_TEMPO = _Range(1.0, 0.10)
_PITCH = _Range(150.0, 0.22)
_BREATH = _Range(0.22, 0.30)
_WIDTH = _Range(1.0, 0.15)
_VOICE_SHIFT = 0.015
# Utterances.
_WORD_SECONDS = _Range(0.62, 0.08)
_LOUDNESS = _Range(1.0, 0.25)
_UTTERANCE_SHIFT = 0.012
_FORMANT_SHIFT = 0.020
_KNOT_SHIFT = 0.06
_QUARTER_EVENTS = _Range(9.3675, 0.09)
"""Fourth root of the number of events: the fourth power of a normally distributed number is nearly log-normal."""


class Voice(NamedTuple):
    """Parameters of one speaker, the same in all of the speaker's recordings.

    Attributes
    ----------
    stretch : float
        Factor for the places of all resonances along the cochlea; it models the length of the vocal tract.
    shift : float
        Number added to the places of all resonances, as a fraction of the cochlea's length.
    tempo : float
        Factor for the duration of words.
    pitch : float
        Frequency of the voice, in Hz.
    breath : float
        Share of background noise in the rates.
    width : float
        Factor for the widths of all resonances.
    """

    stretch: float
    shift: float
    tempo: float
    pitch: float
    breath: float
    width: float


class Recording(NamedTuple):
    """Events of one recording.

    Attributes
    ----------
    times : numpy.ndarray
        Times in s, not decreasing: float16, shape (n_events,).
    units : numpy.ndarray
        Channels from 0 to 699: uint16, shape (n_events,).
    """

    times: npt.NDArray[np.float16]
    units: npt.NDArray[np.uint16]


def draw_voice(rng: np.random.Generator) -> Voice:
    """Return a random voice of one speaker.

    Parameters
    ----------
    rng : numpy.random.Generator
        Random generator of this speaker; no other speaker may use it.
    """
    z = _normal(rng, 6)
    return Voice(
        stretch=_STRETCH.draw(z[0]),
        shift=_VOICE_SHIFT * float(z[1]),
        tempo=_TEMPO.draw(z[2]),
        pitch=_PITCH.draw(z[3]),
        breath=_BREATH.draw(z[4]),
        width=_WIDTH.draw(z[5]),
    )


def draw_recording(rng: np.random.Generator, word: str, voice: Voice) -> Recording:
    """Return a random recording of a word.

    Parameters
    ----------
    rng : numpy.random.Generator
        Random generator of this recording; no other recording may use it.
    word : str
        One of `WORDS`.
    voice : Voice
        Voice of the speaker.

    Returns
    -------
    Recording
        About 8,000 events (from 2,700 to 17,400). The time of the last event, 0.8 to 1.2 s, is the end of the recording.
    """
    duration = float(rng.uniform(0.805, 1.195))
    rates, voicing = _draw_rates(rng, WORDS[word], voice, duration)
    quarter = _QUARTER_EVENTS.draw(_normal(rng, 1)[0])
    n_events = int(quarter * quarter * quarter * quarter)
    return _draw_events(rng, rates, voicing, voice.pitch, duration, n_events)


def _normal(rng: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
    """Return random numbers of the standard normal distribution, clipped to ±2.5 to avoid extreme voices: float64, shape (size,)."""
    return np.clip(rng.standard_normal(size), -2.5, 2.5)


def _draw_rates(
    rng: np.random.Generator, sounds: str, voice: Voice, duration: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Return the event rates of a random utterance at each time and place, and the share of voiced sound at each time. A row is one time.

    Returns
    -------
    rates : numpy.ndarray
        Rates, up to a common factor: float32, shape (n_rows, places).
    voicing : numpy.ndarray
        Numbers from 0 (hiss or silence) to 1 (vowel): float64, shape (n_rows,).
    """
    n_rows = int(np.ceil(duration / _ROW))
    length = min(_WORD_SECONDS.draw(_normal(rng, 1)[0]) * voice.tempo, duration - 0.10)
    # The word ends within the first second, because the usual transform crops later events.
    room = max(min(duration, 1.0) - length - 0.06, 0.0)
    begin = 0.04 + room * float(rng.random())
    phase = ((np.arange(n_rows) + 0.5) * _ROW - begin) / length

    # Each sound is constant between its two knots; between the knots of two sounds, all values are interpolated.
    sound = np.repeat(np.arange(len(sounds)), 2)
    knots = (sound + np.tile([0.30, 0.70], len(sounds))) / len(sounds)
    knots = np.sort(knots + _KNOT_SHIFT / len(knots) * _normal(rng, len(knots)))
    places = np.array([_SOUNDS[name].places for name in sounds])
    places = (places + _FORMANT_SHIFT * _normal(rng, len(_WIDTHS))) * voice.stretch + voice.shift
    places = (places + _UTTERANCE_SHIFT * _normal(rng, 1))[sound]
    emphasis = _LOUDNESS.mean + _LOUDNESS.spread * _normal(rng, len(sounds))
    loudness = np.array([_SOUNDS[name].loudness for name in sounds]) * emphasis[:, None]
    loudness = np.maximum(loudness, 0.02)[sound]

    # Attack and release take 6 % of the word each.
    envelope = np.clip(np.minimum(phase, 1 - phase) / 0.06, 0.0, 1.0)
    heights = np.empty((len(_WIDTHS), n_rows))
    rates = np.zeros((n_rows, _PLACES), np.float32)
    for k, width in enumerate(_WIDTHS):
        scale = 1 / (width * voice.width)
        heights[k] = np.interp(phase, knots, loudness[:, k]) * envelope
        centres = np.interp(phase, knots, places[:, k]) * scale
        # height / (1 + ((place - centre) / width)²)², computed in place: it takes a third of the total time.
        term = np.subtract.outer(centres.astype(np.float32), (_PLACE_AXIS * scale).astype(np.float32))
        term *= term
        term += 1
        term *= term
        np.divide(heights[k, :, None].astype(np.float32), term, out=term)
        rates += term
    formants = heights[:_HISS].sum(axis=0)
    voicing = formants / (formants + heights[_HISS] + 0.05)
    # Background, constant over time and places. cumsum has a fixed order of additions, sum does not.
    loud = float(np.cumsum(rates, dtype=np.float64)[-1])
    rates += np.float32(loud * voice.breath / (1 - voice.breath) / rates.size)
    return rates, voicing


def _draw_events(
    rng: np.random.Generator,
    rates: npt.NDArray[np.float32],
    voicing: npt.NDArray[np.float64],
    pitch: float,
    duration: float,
    n_events: int,
) -> Recording:
    """Return a recording with `n_events` events. Rates have the shape (times, places), `voicing` the shape (times,); pitch in Hz, duration in s."""
    n_rows = rates.shape[0]
    cumulative = np.cumsum(rates, dtype=np.float64)
    row_end = cumulative[_PLACES - 1 :: _PLACES]
    row_mass = np.diff(row_end, prepend=0.0)

    # In voiced rows, the rate follows the pitch: it is higher in the first third of each cycle.
    ticks = np.arange(n_rows * _STEPS_PER_ROW + 1) * (_ROW / _STEPS_PER_ROW)
    pulses = np.where((ticks[:-1] * pitch) % 1.0 < 0.35, 2.0, 0.45)
    depth = np.repeat(voicing, _STEPS_PER_ROW)
    mass = np.repeat(row_mass, _STEPS_PER_ROW) * (1 - depth + depth * pulses)
    mass[ticks[1:] > duration] = 0.0
    mass_end = np.concatenate([[0.0], np.cumsum(mass)])

    draws = np.sort(rng.random(n_events)) * mass_end[-1]
    times = np.minimum(np.interp(draws, mass_end, ticks), duration)
    # The last event is exactly at the end of the recording.
    times[-1] = duration
    row = np.minimum((times / _ROW).astype(np.int64), n_rows - 1)
    target = row_end[row] - rng.random(n_events) * row_mass[row]
    # Rounding may move a target out of its row, hence the clip.
    place = np.clip(np.searchsorted(cumulative, target) - row * _PLACES, 0, _PLACES - 1)
    channels = N_CHANNELS // _PLACES
    unit = place * channels + rng.integers(0, channels, n_events)
    # Rounding to float16, as in the real files, keeps times in order: it is monotonic.
    return Recording(times=times.astype(np.float16), units=unit.astype(np.uint16))
