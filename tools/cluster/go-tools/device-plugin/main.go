// Command device-plugin offers devices of this machine to its kubelet as an extended resource: GPUs whose
// nodes and driver are there, or any file as a stand-in where none is.
//
//	device-plugin --resource nvidia.com/gpu --device gpu0=/dev/nvidia0 --with /dev/nvidiactl
//	    --mount /usr/local/nvidia --env LD_LIBRARY_PATH=/usr/local/nvidia/lib64
//
// A container that is given --device gets its node, every --with, every --mount (read-only, in the same
// place) and every --env; NVIDIA_VISIBLE_DEVICES names what it was given.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

type plugin struct {
	api.UnimplementedDevicePluginServer
	nodes  map[string]string
	order  []string
	with   list
	mounts list
	env    map[string]string
	done   chan struct{}
}

func (p *plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

// ListAndWatch tells the devices once: those of a test machine do not come and go.
func (p *plugin) ListAndWatch(_ *api.Empty, stream grpc.ServerStreamingServer[api.ListAndWatchResponse]) error {
	told := &api.ListAndWatchResponse{}
	for _, name := range p.order {
		told.Devices = append(told.Devices, &api.Device{ID: name, Health: api.Healthy})
	}
	if err := stream.Send(told); err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-stream.Context().Done():
	}
	return nil
}

func (p *plugin) Allocate(_ context.Context, request *api.AllocateRequest) (*api.AllocateResponse, error) {
	answer := &api.AllocateResponse{}
	for _, container := range request.ContainerRequests {
		given := &api.ContainerAllocateResponse{Envs: map[string]string{}}
		for name, value := range p.env {
			given.Envs[name] = value
		}
		given.Envs["NVIDIA_VISIBLE_DEVICES"] = strings.Join(container.DevicesIds, ",")
		paths := []string{}
		for _, name := range container.DevicesIds {
			node, known := p.nodes[name]
			if !known {
				return nil, fmt.Errorf("there is no device %q", name)
			}
			paths = append(paths, node)
		}
		for _, path := range append(paths, p.with...) {
			given.Devices = append(given.Devices, &api.DeviceSpec{ContainerPath: path, HostPath: path, Permissions: "rw"})
		}
		for _, path := range p.mounts {
			given.Mounts = append(given.Mounts, &api.Mount{ContainerPath: path, HostPath: path, ReadOnly: true})
		}
		answer.ContainerResponses = append(answer.ContainerResponses, given)
	}
	return answer, nil
}

func register(ctx context.Context, folder, endpoint, resource string) error {
	connection, err := grpc.NewClient("unix://"+filepath.Join(folder, "kubelet.sock"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	_, err = api.NewRegistrationClient(connection).Register(ctx,
		&api.RegisterRequest{Version: api.Version, Endpoint: endpoint, ResourceName: resource}, grpc.WaitForReady(true))
	return err
}

func main() {
	var devices, variables list
	p := &plugin{nodes: map[string]string{}, env: map[string]string{}, done: make(chan struct{})}
	resource := flag.String("resource", "nvidia.com/gpu", "the extended resource")
	folder := flag.String("folder", strings.TrimSuffix(api.DevicePluginPath, "/"), "where the kubelet listens")
	flag.Var(&devices, "device", "NAME=NODE, a device and its file; again for each")
	flag.Var(&p.with, "with", "a file that every device needs")
	flag.Var(&p.mounts, "mount", "a folder that every device needs, read-only")
	flag.Var(&variables, "env", "NAME=VALUE for a container with a device")
	flag.Parse()
	for _, device := range devices {
		name, node, ok := strings.Cut(device, "=")
		if !ok {
			log.Fatalf("--device %s: write NAME=NODE", device)
		}
		if _, err := os.Stat(node); err != nil {
			log.Fatal(err)
		}
		p.nodes[name] = node
		p.order = append(p.order, name)
	}
	for _, variable := range variables {
		name, value, _ := strings.Cut(variable, "=")
		p.env[name] = value
	}
	endpoint := strings.ReplaceAll(*resource, "/", "-") + ".sock"
	socket := filepath.Join(*folder, endpoint)
	_ = os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	api.RegisterDevicePluginServer(server, p)
	go func() {
		if err := server.Serve(listener); err != nil {
			log.Fatal(err)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := register(ctx, *folder, endpoint, *resource); err != nil {
		log.Fatalf("the kubelet does not take %s: %v", *resource, err)
	}
	log.Printf("%s: %s", *resource, strings.Join(p.order, ", "))
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGINT, syscall.SIGTERM)
	<-stopped
	close(p.done)
	server.Stop()
}
