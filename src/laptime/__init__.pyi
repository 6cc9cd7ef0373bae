from laptime.door import LoopLedger as LoopLedger
from laptime.door import ledger as ledger
from laptime.errors import CheckpointError as CheckpointError
from laptime.errors import DataError as DataError
from laptime.errors import DeviceError as DeviceError
from laptime.errors import LaptimeError as LaptimeError
from laptime.errors import ModelError as ModelError
from laptime.errors import SettingsError as SettingsError
from laptime.errors import StoreError as StoreError
from laptime.errors import TrainingError as TrainingError
from laptime.phase import Phase as Phase
from laptime.record import EpochRecord as EpochRecord
from laptime.record import RunRecord as RunRecord
from laptime.settings import RunSettings as RunSettings
from laptime.settings import build_settings as build_settings
from laptime.store import RunDirectory as RunDirectory
from laptime.store import find_run as find_run
from laptime.training.loop import resume as resume
from laptime.training.loop import train as train

__version__: str
