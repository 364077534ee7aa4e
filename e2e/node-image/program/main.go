// Command nodeimage is every Kubernetes program of a kind node in one binary, chosen by the name it is called
// under. One binary, because the programs share almost all of their code: together they are as large as one.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics of all programs
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app"
	kubeadmerrors "k8s.io/kubernetes/cmd/kubeadm/app/util/errors"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// programs maps the name in argv[0] to what runs under it; the result is the exit code.
var programs = map[string]func() int{
	"kube-apiserver":          ofCommand(apiserver.NewAPIServerCommand),
	"kube-controller-manager": ofCommand(controllermanager.NewControllerManagerCommand),
	"kube-scheduler":          ofCommand(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kube-proxy":              ofCommand(proxy.NewProxyCommand),
	"kubelet":                 ofCommand(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"kubectl":                 ofCommand(kubectl.NewDefaultKubectlCommand),
	"kubeadm":                 func() int { kubeadmerrors.HandleError(kubeadm.Run()); return 0 },
	"etcd":                    func() int { etcdmain.Main(os.Args); return 0 },
	"coredns":                 runCoreDNS,
	"crictl":                  ofErr(runCrictl),
	"node-agent":              ofErr(runNodeAgent),
}

func ofCommand(build func() *cobra.Command) func() int {
	return func() int { return cli.Run(build()) }
}

func ofErr(run func() error) func() int {
	return func() int {
		if err := run(); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			return 1
		}
		return 0
	}
}

func main() {
	name := filepath.Base(os.Args[0])
	if _, known := programs[name]; !known && len(os.Args) > 1 { // nodeimage NAME [flags]
		name = os.Args[1]
		os.Args = os.Args[1:]
	}
	run, known := programs[name]
	if !known {
		names := slices.Sorted(maps.Keys(programs))
		fmt.Fprintf(os.Stderr, "no program %q in here; call as one of: %s\n", name, strings.Join(names, ", "))
		os.Exit(2)
	}
	os.Exit(run())
}
