"""What one file holds, as its target's loader and CUDA driver will see it: facts, and no judgement."""
