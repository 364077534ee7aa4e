package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const containerdSocket = "unix:///run/containerd/containerd.sock"

// runCrictl answers the two calls that kind makes: `crictl inspecti NAME` when it loads an image, and
// `crictl images` when it exports logs.
func runCrictl() error {
	conn, err := grpc.NewClient(containerdSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	service := cri.NewImageServiceClient(conn)

	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == "inspecti":
		return inspectImage(ctx, service, args[1])
	case len(args) == 1 && args[0] == "images":
		return listImages(ctx, service)
	}
	return fmt.Errorf("crictl here knows only: inspecti NAME, images")
}

func inspectImage(ctx context.Context, service cri.ImageServiceClient, name string) error {
	answer, err := service.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}})
	if err != nil {
		return err
	}
	if answer.Image == nil {
		return fmt.Errorf("no image %q on this node", name)
	}
	type status struct {
		ID          string   `json:"id"`
		RepoTags    []string `json:"repoTags"`
		RepoDigests []string `json:"repoDigests"`
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]status{
		"status": {answer.Image.Id, answer.Image.RepoTags, answer.Image.RepoDigests},
	})
}

func listImages(ctx context.Context, service cri.ImageServiceClient) error {
	answer, err := service.ListImages(ctx, &cri.ListImagesRequest{})
	if err != nil {
		return err
	}
	for _, image := range answer.Images {
		fmt.Println(image.Id, image.Size, image.RepoTags)
	}
	return nil
}
