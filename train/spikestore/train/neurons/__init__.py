"""Integrate-and-fire neurons, computed in one compiled pass over time: by numba on the CPU, by Triton on the GPU."""

from spikestore.train.neurons.layer import IAF as IAF
from spikestore.train.neurons.surrogates import Gaussian as Gaussian
from spikestore.train.neurons.surrogates import Heaviside as Heaviside
from spikestore.train.neurons.surrogates import MultiGaussian as MultiGaussian
from spikestore.train.neurons.surrogates import PeriodicExponential as PeriodicExponential
from spikestore.train.neurons.surrogates import SingleExponential as SingleExponential
from spikestore.train.neurons.surrogates import Surrogate as Surrogate
