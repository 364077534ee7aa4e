package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

const (
	provisionerName = "litevoice.dev/node-directory" // also in rootfs/kind/manifests/default-storage.yaml
	volumeRoot      = "/var/lib/node-volumes"

	claimProvisioner  = "volume.kubernetes.io/storage-provisioner" // set by the controller manager
	claimSelectedNode = "volume.kubernetes.io/selected-node"       // set by the scheduler
	volumeProvisioner = "pv.kubernetes.io/provisioned-by"          // tells the controller manager to leave deletion to us
)

// reconcileVolumes makes a directory and a PersistentVolume for each claim whose pod the scheduler placed on this
// node, and removes both once the claim is gone.
func (a *nodeAgent) reconcileVolumes(ctx context.Context) error {
	claims, err := a.claims.List(labels.Everything())
	if err != nil {
		return err
	}
	volumes, err := a.volumes.List(labels.Everything())
	if err != nil {
		return err
	}
	var problems []error
	for _, claim := range claims {
		if a.mustProvision(claim) {
			problems = append(problems, a.provision(ctx, claim))
		}
	}
	for _, volume := range volumes {
		if a.mustDelete(volume) {
			problems = append(problems, a.deleteVolume(ctx, volume))
		}
	}
	return errors.Join(problems...)
}

func (a *nodeAgent) mustProvision(claim *corev1.PersistentVolumeClaim) bool {
	return claim.DeletionTimestamp == nil && claim.Spec.VolumeName == "" &&
		claim.Annotations[claimProvisioner] == provisionerName &&
		claim.Annotations[claimSelectedNode] == a.nodeName
}

func (a *nodeAgent) mustDelete(volume *corev1.PersistentVolume) bool {
	return volume.DeletionTimestamp == nil && volume.Status.Phase == corev1.VolumeReleased &&
		volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete &&
		volume.Annotations[volumeProvisioner] == provisionerName &&
		volume.Labels[corev1.LabelHostname] == a.nodeName
}

// refusal says why a directory of one node cannot be what the claim asks for, or is empty.
func refusal(claim *corev1.PersistentVolumeClaim) string {
	if mode := claim.Spec.VolumeMode; mode != nil && *mode != corev1.PersistentVolumeFilesystem {
		return fmt.Sprintf("spec.volumeMode %s: only Filesystem is possible", *mode)
	}
	if claim.Spec.Selector != nil {
		return "spec.selector: not possible with volumes made on demand"
	}
	for _, mode := range claim.Spec.AccessModes {
		if mode != corev1.ReadWriteOnce && mode != corev1.ReadWriteOncePod {
			return fmt.Sprintf("spec.accessModes %s: only ReadWriteOnce and ReadWriteOncePod are possible", mode)
		}
	}
	return ""
}

func (a *nodeAgent) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if reason := refusal(claim); reason != "" {
		a.events.Event(claim, corev1.EventTypeWarning, "ProvisioningFailed", reason)
		return nil
	}
	volume := a.volumeFor(claim)
	path := volume.Spec.Local.Path
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(path, 0o777); err != nil { // whatever the umask; pods run as any user
		return err
	}
	_, err := a.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil // the lister is behind, or the claim is not bound yet
	}
	if err == nil {
		log.Printf("volume %s made for %s/%s", volume.Name, claim.Namespace, claim.Name)
	}
	return err
}

func (a *nodeAgent) volumeFor(claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolume {
	name := "pvc-" + string(claim.UID)
	onThisNode := corev1.NodeSelectorRequirement{
		Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{a.nodeName},
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Labels:      map[string]string{corev1.LabelHostname: a.nodeName},
			Annotations: map[string]string{volumeProvisioner: provisionerName},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			StorageClassName:              *claim.Spec.StorageClassName, // set, since a provisioner was found by it
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				Local: &corev1.LocalVolumeSource{Path: filepath.Join(volumeRoot, name)},
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{onThisNode}}},
			}},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
		},
	}
}

func (a *nodeAgent) deleteVolume(ctx context.Context, volume *corev1.PersistentVolume) error {
	path := volume.Spec.Local.Path
	if !strings.HasPrefix(filepath.Clean(path), volumeRoot+"/") { // somebody edited the volume
		return fmt.Errorf("volume %s: %q is not below %s, left alone", volume.Name, path, volumeRoot)
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	err := a.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
	if err == nil {
		log.Printf("volume %s deleted", volume.Name)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
