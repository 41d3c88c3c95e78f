module kube-countersign.dev/bench

go 1.26
