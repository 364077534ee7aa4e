package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
)

const (
	nodeKubeconfig = "/etc/kubernetes/kubelet.conf"
	resyncInterval = 15 * time.Second // heals what somebody else changed on the node: a route, a directory
	retryInterval  = 500 * time.Millisecond
)

// nodeAgent gives one node what a stock kind image gets from kindnetd and local-path-provisioner: the pod network
// (nodeNetwork) and volumes in directories of the node (nodeVolumes). It acts under the node's own credentials.
type nodeAgent struct {
	nodeName string
	podRange string
	client   kubernetes.Interface
	events   record.EventRecorder
	nodes    corelisters.NodeLister
	claims   corelisters.PersistentVolumeClaimLister
	volumes  corelisters.PersistentVolumeLister
	changed  chan struct{}
}

func runNodeAgent() error {
	flags := pflag.NewFlagSet("node-agent", pflag.ContinueOnError)
	podRange := flags.String("pod-range", "10.244.0.0/16", "addresses of all pods of the cluster; traffic to others is masqueraded")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	nodeName, err := os.Hostname()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	client, err := waitForAccess(ctx)
	if err != nil {
		return err
	}
	agent := &nodeAgent{nodeName: nodeName, podRange: *podRange, client: client, changed: make(chan struct{}, 1)}
	return agent.run(ctx)
}

// waitForAccess returns a client once the node has joined and the cluster lets it read what the agent needs. It
// polls, because an informer that starts too early backs off for up to half a minute.
func waitForAccess(ctx context.Context) (kubernetes.Interface, error) {
	for {
		client, err := tryAccess(ctx)
		if err == nil {
			return client, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("stopped while waiting for access to the cluster: %w", err)
		case <-time.After(retryInterval):
		}
	}
}

func tryAccess(ctx context.Context) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", nodeKubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	_, err = client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{Limit: 1})
	return client, err
}

func (a *nodeAgent) run(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(a.client, 0)
	core := factory.Core().V1()
	a.nodes, a.claims, a.volumes = core.Nodes().Lister(), core.PersistentVolumeClaims().Lister(), core.PersistentVolumes().Lister()
	for _, informer := range []cache.SharedIndexInformer{
		core.Nodes().Informer(), core.PersistentVolumeClaims().Informer(), core.PersistentVolumes().Informer(),
	} {
		if _, err := informer.AddEventHandler(a.wakeOnChange()); err != nil {
			return err
		}
	}
	broadcaster := record.NewBroadcaster()
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: a.client.CoreV1().Events("")})
	a.events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "node-agent", Host: a.nodeName})

	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("stopped before %v were read", kind)
		}
	}
	log.Printf("node %s: pod network and volumes under control", a.nodeName)
	a.reconcileUntil(ctx)
	return nil
}

// wakeOnChange makes every event the same event: the loop looks at the whole state each time.
func (a *nodeAgent) wakeOnChange() cache.ResourceEventHandler {
	wake := func() {
		select {
		case a.changed <- struct{}{}:
		default: // a wake-up is already waiting
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { wake() },
		UpdateFunc: func(any, any) { wake() },
		DeleteFunc: func(any) { wake() },
	}
}

func (a *nodeAgent) reconcileUntil(ctx context.Context) {
	for {
		next := resyncInterval
		for what, reconcile := range map[string]func(context.Context) error{
			"network": a.reconcileNetwork,
			"volumes": a.reconcileVolumes,
		} {
			if err := reconcile(ctx); err != nil {
				log.Printf("%s: %v", what, err)
				next = 2 * retryInterval
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-a.changed:
		case <-time.After(next):
		}
	}
}
