// A gateway as one would write it in Go with gorilla/websocket, as far as the measurement needs one: accepts, reads
// append events, decodes their audio, collects 100 ms of each session, and writes one message per partition and beat
// to a canned sink on this machine, which confirms each.
//
//	peer-go LISTEN_PORT SINK_PORT
package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

const (
	partitions = 8
	beat       = 100 * time.Millisecond
	created    = `{"type":"session.created","session":{"type":"realtime"}}`
)

type event struct {
	Type  string `json:"type"`
	Audio string `json:"audio"`
}

type collected struct {
	first   uint64
	packets uint32
	audio   []byte
}

// What waits for a partition's next beat, by session.
type partition struct {
	mutex   sync.Mutex
	waiting map[uint64]*collected
}

func (p *partition) add(session, sequence uint64, text string) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	mine := p.waiting[session]
	if mine == nil {
		mine = &collected{first: sequence}
		p.waiting[session] = mine
	}
	audio, err := base64.StdEncoding.AppendDecode(mine.audio, []byte(text))
	if err != nil {
		return err
	}
	mine.audio = audio
	mine.packets++
	return nil
}

// One message per beat: a length, then each session's id, first number, packets, bytes and audio. One is in flight at
// a time, as with a broker that must keep the order.
func (p *partition) depart(sink net.Conn, offset time.Duration) {
	time.Sleep(offset)
	confirmation := make([]byte, 1)
	for range time.Tick(beat) {
		p.mutex.Lock()
		waiting := p.waiting
		p.waiting = make(map[uint64]*collected, len(waiting))
		p.mutex.Unlock()
		if len(waiting) == 0 {
			continue
		}
		message := make([]byte, 4, 4096)
		for session, mine := range waiting {
			message = fmt.Appendf(message, "%032d", session)
			message = binary.BigEndian.AppendUint64(message, mine.first)
			message = binary.BigEndian.AppendUint32(message, mine.packets)
			message = binary.BigEndian.AppendUint32(message, uint32(len(mine.audio)))
			message = append(message, mine.audio...)
		}
		binary.BigEndian.PutUint32(message, uint32(len(message)-4))
		if _, err := sink.Write(message); err != nil {
			log.Fatal(err)
		}
		if _, err := sink.Read(confirmation); err != nil {
			log.Fatal(err)
		}
	}
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: peer-go LISTEN_PORT SINK_PORT")
	}
	var all [partitions]partition
	for number := range all {
		sink, err := net.Dial("tcp", "127.0.0.1:"+os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		all[number].waiting = map[uint64]*collected{}
		go all[number].depart(sink, beat*time.Duration(number)/partitions)
	}
	var sessions atomic.Uint64
	upgrader := websocket.Upgrader{ReadBufferSize: 4096, WriteBufferSize: 4096}
	http.HandleFunc("/v1/realtime", func(w http.ResponseWriter, r *http.Request) {
		socket, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer socket.Close()
		if socket.WriteMessage(websocket.TextMessage, []byte(created)) != nil {
			return
		}
		session, sequence := sessions.Add(1), uint64(0)
		mine := &all[session%partitions]
		for {
			_, text, err := socket.ReadMessage()
			if err != nil {
				return
			}
			var one event
			if json.Unmarshal(text, &one) != nil {
				return
			}
			if one.Type != "input_audio_buffer.append" {
				continue
			}
			if mine.add(session, sequence, one.Audio) != nil {
				return
			}
			sequence++
		}
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
