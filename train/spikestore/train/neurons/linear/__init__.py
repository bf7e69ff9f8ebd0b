"""A linear layer and the neurons behind it as one step, which keeps one byte a spike for the backward pass.

Spikes are small integers and mostly 0. So they are kept as bytes, once for two layers: what neurons fire is the input of
the next linear layer. Membrane potentials are not kept at all: the backward pass computes them again.

**Forward.** With the layer's weight W and bias b, and the neuron's equations of `spikestore.train.neurons.dynamics`::

    i(t) = W · x(t) + b            torch's own matrix product
    v(t) = v'(t-1) + i(t)          the neuron integrates,
    s(t), v'(t)                    fires and resets

Outputs are those of the two layers one by one to the last bit, as far as torch repeats its own: on one processor, with
one number of threads. Kept are x and s as bytes, W, b and v'(0); layers one by one keep x, v and s as float32.

**Backward.** From the gradient g(t) by the spikes, in one loop over a row of the batch and its time steps::

    i(t) = b + Σ x_k(t) · W_k      over the inputs k with x_k(t) ≠ 0 alone, W_k the k-th column of W
    v(t) = v'(t-1) + i(t)          v'(t) from s(t), which was kept: all v(t) of one row fit into the cache
    d(t)                           gradient by i(t), from the last step to the first: see dynamics
    ∂W_k = Σ x_k(t) · d(t)         over the same k, in the same loop
    ∂b   = Σ d(t)
    ∂x(t) = Wᵀ · d(t)              torch's matrix product

Sums over few non-zeros cost less than to read float32 potentials back. They have to give the bits of torch's matrix product,
since a steep surrogate multiplies differences from step to step; some rows are compared after each forward pass. Where they
differ, or where too much of the input is not 0, time steps are few or W is large, potentials are kept and W's gradient is a
matrix product (`functions` has the limits, docs/decisions/0022 and 0053 the reasons and numbers).

====================  ======================  =========  ==================================================
array                 shape                   dtype      what
====================  ======================  =========  ==================================================
source                (batch, time, inputs)   uint8      x, the input of the linear layer, as counts
current               (batch, time, neurons)  float32    i, its output; in the backward pass d
kept                  (batch, time, neurons)  float32    v before the reset, where it is kept
initial               (batch, neurons)        float32    v'(0)
fired                 (batch, time, neurons)  uint8      s as counts
weight                (neurons, inputs)       float32    W; `cpu_kernels` take it as (inputs, padded neurons)
====================  ======================  =========  ==================================================

From the outside to the inside: `functions` (what layers call; chooses the device), ``cpu_autograd`` and ``gpu_autograd``
(torch's forward and backward), ``cpu_passes`` (tensors to kernels), ``cpu_kernels`` (compiled loops); on a GPU the kernels are
those of `spikestore.train.neurons.gpu.passes`. `counts` has what is handed from layer to layer.
"""
