"""The clusters that the suites, the demo and `make up` run on: real etcd, kube-apiserver and kube-controller-manager as plain
processes (`local`), or a kind cluster (`kind`), each with Countersign installed by its chart.

Start reading at `cluster.py` (what tests use) and `up.py` (the order of the steps).
"""
