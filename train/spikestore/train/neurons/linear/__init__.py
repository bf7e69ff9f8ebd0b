"""A linear layer and its neurons as one step. For the backward pass, this step stores spike counts as bytes.

Spike counts are small integers, so they are stored as bytes. They are stored once for two layers, because the output of
neurons is the input of the next linear layer. If possible, membrane potentials are not stored, and the backward pass
recomputes them.

**Forward.** With weight W and bias b of the layer, and the equations of `spikestore.train.neurons.dynamics`::

    i(t) = W · x(t) + b            torch's own matrix product
    v(t) = v'(t-1) + i(t)          the neuron integrates,
    s(t), v'(t)                    fires and resets

Outputs equal those of the two separate layers bit for bit if torch's own results are repeatable. They are repeatable on the
same processor with the same number of threads. This step stores W, b, v'(0), and x and s as bytes. Separate layers store x, v
and s as float32.

**Backward.** From the gradient g(t) of the spikes, in one loop over a row of the batch and its time steps::

    i(t) = b + Σ x_k(t) · W_k      sum over the inputs k with x_k(t) ≠ 0 only; W_k is column k of W
    v(t) = v'(t-1) + i(t)          v'(t) with the stored s(t); all v(t) of one row fit into the cache
    d(t)                           gradient of i(t), from the last step to the first: see dynamics
    ∂W_k = Σ x_k(t) · d(t)         over the same k, in the same loop
    ∂b   = Σ d(t)
    ∂x(t) = Wᵀ · d(t)              torch's matrix product

Most counts are 0, and sums over few non-zeros take less time than reading float32 potentials back. Recomputed
potentials must equal the potentials from torch's matrix product bit for bit, because a steep surrogate enlarges each
difference from step to step. So before a forward pass leaves the potentials out, it recomputes some rows, and compares
them with torch's product.

The gradient of W is a matrix product, and potentials are stored, if one of these conditions holds:

- the input does not consist of counts;
- the share of non-zeros in the input exceeds a limit;
- there are few time steps, or W is large.

Otherwise, the gradient of W is a sum over non-zeros. Potentials are then stored only if one of these conditions holds:

- the share of non-zeros in the input exceeds a second, lower limit;
- the compared rows differ;
- the surrogate is not a single exponential;
- a neuron spikes more than 254 times in a step. Spikes are then not stored as bytes, and the next linear layer stores its
  input as float32.

``cpu_autograd`` has the limits; decisions 22, 39 and 53 have the reasons.

====================  ======================  =========  ================================================================
array                 shape                   dtype      content
====================  ======================  =========  ================================================================
source                (batch, time, inputs)   uint8      x, the input of the linear layer, as counts
current               (batch, time, neurons)  float32    i, the output of the linear layer; d in the backward pass
kept                  (batch, time, neurons)  float32    v before the reset, if it is stored
initial               (batch, neurons)        float32    v'(0)
fired                 (batch, time, neurons)  uint8      s as counts, if none is above 254
weight                (neurons, inputs)       float32    W; ``cpu_kernels`` read it as (inputs, padded neurons)
====================  ======================  =========  ================================================================

Read the modules in this order: `functions` (called by layers; selects the device), ``cpu_autograd`` (torch's forward and
backward), ``cpu_passes`` (from tensors to kernels), ``cpu_kernels`` (compiled loops). On a GPU,
``spikestore.train.neurons.gpu.linear_autograd`` replaces ``cpu_autograd``, with the kernels of ``gpu.passes``. `counts` has the objects that layers pass to
each other.
"""
