"""What a detector costs on this machine: time, memory and arithmetic, stage by stage, and beside its peers.

run.py takes the steps. stages.py tells meters when a stage begins and ends, which add up what it took; the model knows
nothing of it. Peers are one file each in comparisons/.
"""
