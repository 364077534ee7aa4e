package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

const (
	cniConfigPath = "/etc/cni/net.d/10-node-agent.conflist"
	cniLeaseDir   = "/run/node-agent-cni" // forgotten with the pods when the node restarts
)

// reconcileNetwork keeps this node's CNI configuration, one route to the pods of each other node, and the
// masquerading of traffic that leaves the pod range.
func (a *nodeAgent) reconcileNetwork(ctx context.Context) error {
	nodes, err := a.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	var problems []error
	for _, node := range nodes {
		if node.Spec.PodCIDR == "" {
			continue // the controller manager has not given it a range yet; the update wakes us
		}
		if node.Name == a.nodeName {
			problems = append(problems, a.ensureMasquerade(ctx, node.Spec.PodCIDR), ensureCNIConfig(node.Spec.PodCIDR))
		} else {
			problems = append(problems, ensureRoute(node))
		}
	}
	return errors.Join(problems...)
}

func ensureRoute(node *corev1.Node) error {
	_, pods, err := net.ParseCIDR(node.Spec.PodCIDR)
	if err != nil {
		return fmt.Errorf("node %s: %w", node.Name, err)
	}
	for _, address := range node.Status.Addresses {
		if gateway := net.ParseIP(address.Address); address.Type == corev1.NodeInternalIP && gateway != nil {
			if err := netlink.RouteReplace(&netlink.Route{Dst: pods, Gw: gateway}); err != nil {
				return fmt.Errorf("route to %s via %s: %w", pods, gateway, err)
			}
		}
	}
	return nil
}

func (a *nodeAgent) ensureMasquerade(ctx context.Context, podCIDR string) error {
	rule := []string{"POSTROUTING", "-s", podCIDR, "!", "-d", a.podRange, "-j", "MASQUERADE"}
	if iptables(ctx, append([]string{"-C"}, rule...)...) == nil {
		return nil
	}
	return iptables(ctx, append([]string{"-A"}, rule...)...)
}

func iptables(ctx context.Context, args ...string) error {
	args = append([]string{"--wait", "5", "--table", "nat"}, args...)
	if output, err := exec.CommandContext(ctx, "iptables", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("iptables %v: %w: %s", args, err, bytes.TrimSpace(output))
	}
	return nil
}

func ensureCNIConfig(podCIDR string) error {
	type object = map[string]any
	content, err := json.MarshalIndent(object{
		"cniVersion": "0.3.1",
		"name":       "pods",
		"plugins": []object{{
			"type": "ptp",
			"ipam": object{
				"type":    "host-local",
				"dataDir": cniLeaseDir,
				"routes":  []object{{"dst": "0.0.0.0/0"}},
				"ranges":  [][]object{{{"subnet": podCIDR}}},
			},
		}, {
			"type":         "portmap",
			"capabilities": object{"portMappings": true},
		}},
	}, "", "  ")
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(cniConfigPath); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(cniConfigPath), 0o755); err != nil {
		return err
	}
	// containerd watches the directory: it must never see half a file
	temporary := filepath.Join(filepath.Dir(cniConfigPath), ".node-agent.tmp")
	if err := os.WriteFile(temporary, content, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, cniConfigPath)
}
