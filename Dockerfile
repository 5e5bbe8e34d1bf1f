# batchrunner in a container: manifests, clips, renders and the state file live in the mounted folder, nothing else does.
#
#   docker build -t batchrunner .
#   docker run --rm -it -v "$PWD:/night" --user "$(id -u):$(id -g)" -e MAGIC_HOUR_API_KEY batchrunner run night.yaml
#
# The state file needs a disk with working locks: mount a local folder, not a share of another machine.

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY batchrunner batchrunner
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
COPY --from=build /wheels /wheels
# PyAV and Pillow bring their own libraries: no package of the system is needed.
RUN wheel=$(ls /wheels/*.whl) && pip install --no-cache-dir "$wheel[heic,notify]" && rm -r /wheels
# A home that whoever runs it may write: notes of the account and caches of pictures go there.
ENV HOME=/tmp PYTHONUNBUFFERED=1
WORKDIR /night
# `docker stop` sends SIGTERM: the run leaves, and the next one collects what was bought.
STOPSIGNAL SIGTERM
ENTRYPOINT ["batchrunner"]
CMD ["--help"]
