"""How cost grows: with the clients, with the faces in a picture, and with its size."""

from bench.speed.pictures import body, crowd, one_face, square
from bench.speed.results import Rows, Table
from bench.speed.run import Run
from bench.speed.service import EMBEDDINGS, JOBS, MULTI

FACES = (1, 2, 4, 8, 16, 32, 64)
SIDES = (320, 480, 640, 960, 1280, 1920, 2560, 4000)
FEW = 4  # clients: enough to keep two cores busy, and few enough to wait for one another only briefly
CROWDED = (
    "429s: clients that were refused, and came again at once. Where there are any, the latencies are those of the "
    "others, from the access log."
)


def over_clients(run: Run) -> None:
    picture = one_face()
    rows: Rows = []
    for job in JOBS:
        for clients in run.sizes(run.clients):
            ceiling = run.ceiling.run(job.name, picture, run.seconds / 2).rate
            for service in run.services:
                got = service.load(job, body(picture), clients=clients, seconds=run.seconds, crowded=True)
                told = [got.rate, ceiling, got.rate / ceiling, got.ms(50), got.ms(99), got.cpu_ms, got.refused]
                rows.append([job.name, service.name, clients, *told])
    columns = ["job", "settings", "clients", "service /s", "ceiling /s", "ratio", "p50 ms", "p99 ms", "CPU ms", "429s"]
    title = "Clients, each of whom asks again as soon as it is answered"
    run.results.add(Table("clients", title, columns, rows, CROWDED))


def over_faces(run: Run) -> None:
    rows: Rows = []
    for faces in run.sizes(FACES):
        sent = body(crowd(faces))
        for service in run.services:
            found = len(service.answer(MULTI, sent)["embeddings_info_list"])
            got = service.load(MULTI, sent, clients=FEW, seconds=run.seconds)
            told = [got.rate, got.rate * found, got.ms(50), got.ms(99), got.cpu_ms]
            rows.append([service.name, faces, found, *told])
    columns = ["settings", "faces", "found", "pictures /s", "faces /s", "p50 ms", "p99 ms", "CPU ms"]
    title = f"Faces in a picture of 1280 x 1280, {FEW} clients, /v1/multi-embeddings"
    run.results.add(Table("faces", title, columns, rows))


def over_sizes(run: Run) -> None:
    rows: Rows = []
    for side in run.sizes(SIDES):
        picture = square(side)
        ceiling = run.ceiling.run(EMBEDDINGS.name, picture, run.seconds / 2).rate
        for service in run.services:
            got = service.load(EMBEDDINGS, body(picture), clients=FEW, seconds=run.seconds)
            told = [got.rate, ceiling, got.rate / ceiling, got.ms(50), got.ms(99), got.cpu_ms]
            rows.append([service.name, side, len(picture) // 1000, *told])
    columns = ["settings", "side", "kB", "service /s", "ceiling /s", "ratio", "p50 ms", "p99 ms", "CPU ms"]
    title = f"Size of a square JPEG with one face, {FEW} clients, /v1/embeddings"
    run.results.add(Table("sizes", title, columns, rows))
